"""The models that a call of `evaluate` tested, which can be loaded and exported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from kdprobe.api.results.loadable import NamedStudents
from kdprobe.api.results.probed_students import ProbedStudent

if TYPE_CHECKING:
    from kdprobe.api.given.eval_stages import Evaluations
    from kdprobe.comparison.scoring import Score as ScoredAnswers
    from kdprobe.students.card import Card, Score
    from kdprobe.students.student import Student


@dataclass(frozen=True, repr=False)
class EvaluatedStudent(ProbedStudent):
    """A student that was evaluated; weights are loaded only on request.

    Attributes:
        score: Its accuracy on the problems, for its model card; `None` if it was evaluated only on other tasks.
    """

    score: Score | None

    call: ClassVar[str] = "evaluate"

    def __repr__(self) -> str:
        return f"<EvaluatedStudent {self.name!r}>"

    def _card(self, student: Student, library: Literal["peft", "transformers"]) -> Card:
        from kdprobe.models.merging.files import adapter_methods
        from kdprobe.models.public_names import without_paths
        from kdprobe.students.card import Card

        return Card(
            name=without_paths(self.name),
            base=student.base,
            library=library,
            methods=adapter_methods(student.adapter) if student.adapter else (),
            training={},
            caution=student.caution,
            score=self.score,
        )


class EvaluatedStudents(NamedStudents[EvaluatedStudent]):
    """The models that were evaluated, by name; empty if another program ran them.

    Args:
        students: All of them.
    """

    none = "only models of the type `hf` can be loaded"
    advice = "Evaluate a local model without `model_type`."

    def __init__(self, students: Iterable[EvaluatedStudent]) -> None:
        super().__init__({student.name: student for student in students})


def evaluated_students(evaluations: Evaluations, scores: Mapping[str, ScoredAnswers]) -> EvaluatedStudents:
    """The models of an evaluation that run here.

    Args:
        evaluations: What was evaluated.
        scores: The score of each model, by name.
    """
    from kdprobe.models.public_names import without_paths
    from kdprobe.students.card import Score

    def card_score(name: str) -> Score | None:
        if evaluations.source is None:
            return None
        source, found = evaluations.source, scores[name]
        low, high = found.interval.low, found.interval.high
        return Score(
            without_paths(source.name),
            source.dataset,
            found.correct,
            found.n,
            low,
            high,
            found.extractor,
            found.samples,
        )

    return EvaluatedStudents(
        EvaluatedStudent(name, student, student, evaluations.problems, evaluations.digests[name], card_score(name))
        for name, student in evaluations.students.items()
    )
