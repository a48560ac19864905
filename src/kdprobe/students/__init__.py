"""Students: base model plus adapter (or none), loaded merged, handed over to TransformerLens, or exported."""

from kdprobe.students.student import Student

__all__ = ["Student"]
