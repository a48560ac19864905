"""Experiments: a config becomes a graph of content-addressed stages in a store; a rerun resumes."""
