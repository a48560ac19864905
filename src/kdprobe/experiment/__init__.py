"""Experiments: a config becomes a graph of content-addressed stages in a store; running again is resuming."""
