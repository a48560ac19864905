"""What runs the stages of an experiment: this process, several processes, or a plugin's cluster."""
