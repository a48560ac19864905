"""Teachers: models that answer, with their log-probabilities where they have them."""

from kdprobe.teachers.teacher import Request, Response, Sampling, SparseRows, Teacher, checked

__all__ = ["Request", "Response", "Sampling", "SparseRows", "Teacher", "checked"]
