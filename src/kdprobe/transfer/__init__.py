"""Transfer sets: what the teacher left behind for one strategy, how it is stored, how faithful it is."""
