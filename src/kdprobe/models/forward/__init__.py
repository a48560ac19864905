"""Forward passes: what `generate` takes from a model, and how the beginning that sequences share is read once."""
