"""What a process has only once, and a plugin that is merely installed must not change."""
