"""Output differences: where students' next-token distributions differ on the same text, token by token."""
