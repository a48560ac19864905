"""What can be known of a run before any of it is done: what would fail hours later, and what could show nothing."""
