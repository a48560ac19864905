"""Evaluations: their section of a config, an experiment's other tasks, and the work behind `kdprobe eval`."""
