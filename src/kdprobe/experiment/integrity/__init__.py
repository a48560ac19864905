"""Whether the store still contains what was written to it."""
