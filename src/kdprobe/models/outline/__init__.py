"""What a model's files, and the machine, reveal before its weights are loaded."""
