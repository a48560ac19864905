"""Priming: what the teacher's prompt changes in the teacher itself, before and besides what students learn of it."""
