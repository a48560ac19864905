"""The stages of an experiment: one file and one function for each kind, and the contents of their keys."""
