"""Evaluation: lm-eval under one protocol, per-problem records, paired statistics, a verdict that stays honest."""
