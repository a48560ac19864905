"""What training changed in the weights of heads: QK and OV circuits, from LoRA factors or two whole models."""
