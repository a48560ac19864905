"""What students output: confidence of answers, attribution of logits to heads and of answers to words."""
