"""Several sampled answers to each problem: means and their tests, pass@k and maj@k."""
