"""Reads what evaluation tools write: lm-eval's samples, inspect_ai's logs and lighteval's details."""
