"""The work behind `kdprobe eval`: models are evaluated outside of experiments, each in its own stages."""
