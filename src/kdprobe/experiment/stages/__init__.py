"""The stages of an experiment, one file and one function for each kind, and what their keys are made of."""
