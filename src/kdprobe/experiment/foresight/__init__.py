"""What can be known about a run before it starts: what would fail hours later, and what could not show anything."""
