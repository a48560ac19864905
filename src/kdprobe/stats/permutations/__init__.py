"""Permutation tests of paired differences, whose signs are exchangeable if two students do not differ."""
