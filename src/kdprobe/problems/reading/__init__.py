"""Reads the final value of an answer: numbers, marks of an answer, and the statements after marks."""
