"""Contrast pairs: activation patching between a problem and the same problem with different numbers."""
