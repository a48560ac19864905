"""How the final value in an answer is read: what a number is, what marks an answer, and what stands behind a mark."""
