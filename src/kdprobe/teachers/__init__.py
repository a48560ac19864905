"""Teachers: models that answer, with their log-probabilities where they have them."""

from kdprobe.teachers.teacher import (
    Passage,
    Request,
    Response,
    Sampling,
    ScoringTeacher,
    SparseRows,
    Teacher,
    checked,
)

__all__ = [
    "Passage",
    "Request",
    "Response",
    "Sampling",
    "ScoringTeacher",
    "SparseRows",
    "Teacher",
    "checked",
]
