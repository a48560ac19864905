"""What students put out: confidence of answers, attribution of logits to heads and of answers to words."""
