"""Merging adapters into bases: reading their files, checking that they fit, and handling vocabularies they bring."""
