"""Models on several devices: how weights are spread over them, and what follows from that."""
