"""In which weights the trained gain is: the update of one circuit, switched on in the base and off in the student."""
