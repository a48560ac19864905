"""The logit lens: what each layer's residual stream would predict if it were the last."""
