"""Teachers: the interface for requests and responses, and the built-in teacher that runs a Hugging Face model."""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports
from kdprobe.teachers.local import LocalTeacher
from kdprobe.teachers.teacher import (
    NO_TOKEN,
    PROMPT_TOO_LONG,
    CautionedTeacher,
    ClosableTeacher,
    LimitedTeacher,
    Passage,
    Request,
    Response,
    Sampling,
    ScoringTeacher,
    SparseRows,
    Teacher,
    Thinking,
)
from kdprobe.teachers.written import written_response
from kdprobe.text import safe_text

if TYPE_CHECKING:
    from kdprobe.teachers.top_k_capture import top_k
    from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.teachers.top_k_capture": ["top_k"],
            "kdprobe.teachers.transformers_teacher": ["TransformersOptions", "TransformersTeacher"],
        },
    )

__all__ = [
    "NO_TOKEN",
    "PROMPT_TOO_LONG",
    "CautionedTeacher",
    "ClosableTeacher",
    "LimitedTeacher",
    "LocalTeacher",
    "Passage",
    "Request",
    "Response",
    "Sampling",
    "ScoringTeacher",
    "SparseRows",
    "Teacher",
    "Thinking",
    "TransformersOptions",
    "TransformersTeacher",
    "safe_text",
    "top_k",
    "written_response",
]
