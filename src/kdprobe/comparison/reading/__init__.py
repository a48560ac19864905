"""Reads files of answers as rows: compression, encoding and layout."""
