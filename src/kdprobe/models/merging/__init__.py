"""Merging adapters into bases: what is in their files, whether they fit, and the vocabulary that they bring."""
