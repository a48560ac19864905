"""What a model's files reveal before its weights are loaded."""
