"""Students: a base model with or without an adapter, loaded merged or in TransformerLens, and the tokens they read."""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports
from kdprobe.students.student import Student

if TYPE_CHECKING:
    from kdprobe.students.bridge import BridgedStudent, boot
    from kdprobe.students.bridges import Bridges
    from kdprobe.students.sequence import ProblemSequence, problem_sequences
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.students.bridge": ["BridgedStudent", "boot"],
            "kdprobe.students.bridges": ["Bridges"],
            "kdprobe.students.sequence": ["ProblemSequence", "problem_sequences"],
        },
    )

__all__ = ["BridgedStudent", "Bridges", "ProblemSequence", "Student", "boot", "problem_sequences"]
