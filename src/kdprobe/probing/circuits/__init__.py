"""Which weights carry the gain from training: one circuit's update, switched on in the base and off in the student."""
