"""A run and all its stages in one file: a plain tar that any program can list."""
