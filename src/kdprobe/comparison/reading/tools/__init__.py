"""Reads what evaluation tools leave: lm-eval's samples, inspect_ai's logs and lighteval's details."""
