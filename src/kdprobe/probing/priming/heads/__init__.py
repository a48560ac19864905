"""The analysis `priming_heads`: which of the teacher's attention heads priming moves."""
