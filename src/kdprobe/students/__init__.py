"""Students: base model plus adapter (or none), loaded merged, and handed over to TransformerLens."""

from kdprobe.students.student import Student

__all__ = ["Student"]
