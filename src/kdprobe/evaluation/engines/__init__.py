"""Engines: what runs models in evaluations, from token ids to token ids and log-probabilities."""
