"""Attention patterns: streamed from students, read from files, viewed one layer at a time, compared pairwise."""
