"""What an experiment costs: tokens, time on devices, memory and disk, before anything is loaded."""
