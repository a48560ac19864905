"""Students on tasks besides the deciding one: scores, and what was gained or lost, document by document."""
