"""Several answers to a problem: grouped by problem, and judged by the best or the most frequent of k."""
