"""What calls make of their arguments: answers, configs, functions, options and problems."""
