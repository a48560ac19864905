"""Whether what the store holds is what was written into it."""
