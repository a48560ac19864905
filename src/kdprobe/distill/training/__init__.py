"""Training a LoRA adapter: the loop, its schedule and order, checkpoints, validation, the loss history."""
