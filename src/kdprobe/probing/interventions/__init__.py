"""Interventions: how a head's output affects the log-probability of the gold solution, measured by changing it."""
