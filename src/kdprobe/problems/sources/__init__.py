"""The built-in problem sources. Each is a function `(split) -> iterable of Problem`."""
