"""Interventions: what a head's output does to the log-probability of the gold solution, by changing it."""
