"""Several answers to a problem: put together by problem, and judged by the best or the most frequent of k."""
