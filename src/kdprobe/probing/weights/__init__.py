"""What training changed in the weights of heads: QK and OV circuits, from the LoRA factors."""
