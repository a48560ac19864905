"""Any of lm-eval's tasks besides the one that decides: how it is loaded, drawn from, run and recorded."""
