"""Priming gain: what priming changes in the teacher's log p(gold), against what it changes in students'."""
