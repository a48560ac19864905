"""The number of the hook API, by which a plugin says what it was written for."""

GROUP = "kdprobe"
"""The entry-point group, and pluggy's project name."""

HOOK_API = 5
"""Increased when hooks or records change in a way that affects plugins. A plugin states its version:
`kdprobe_api = 5`."""

OLDEST_HOOK_API = 2
"""The oldest hook API whose plugins still work; raised to `HOOK_API` when a change breaks them."""
