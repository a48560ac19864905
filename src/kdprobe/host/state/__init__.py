"""Global state of the process, which a plugin must not change merely by being installed."""
