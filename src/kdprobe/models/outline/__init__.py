"""What a model's files say of it before its weights are loaded."""
