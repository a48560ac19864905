"""The built-in distillers.

`logits` is sparse, prompt-primed KD, `sequence` learns from the teacher's text alone, `fine-tune` is the control on
gold solutions; `published` has a module of its own.
"""

from __future__ import annotations

from dataclasses import replace

from kdprobe.distill.distiller import Need, TrainContext, Trained
from kdprobe.distill.examples import Example, from_gold, from_transfer
from kdprobe.distill.objectives import Objective
from kdprobe.distill.options import LogitsOptions, TrainingOptions
from kdprobe.errors import KdprobeError
from kdprobe.models.load import LoadedModel, load


class LogitsDistiller:
    """The student's distribution meets the primed teacher's at every response position."""

    needs: frozenset[Need] = frozenset({"responses"})

    def __init__(self, options: LogitsOptions) -> None:
        self.options = options

    def temperatures(self) -> tuple[float, ...]:
        """Its own temperature."""
        return (self.options.temperature,)

    def train(self, context: TrainContext) -> Trained:
        """Trains on the transfer set.

        Raises:
            KdprobeError: The teacher left no log-probabilities, or none at this temperature.
        """
        student, examples = _taught(context, "logits")
        temperature = self.options.temperature
        taught = (
            [response for response in context.transfer.responses if len(response.token_ids)] if context.transfer else []
        )
        rows = [response.rows for response in taught]
        if any(row is None for row in rows):
            raise KdprobeError(
                "The teacher left no log-probabilities, which the distiller 'logits' learns from.",
                "Use a teacher that gives them.",
            )
        if any(temperature not in row.tail_logmass for row in rows if row):
            raise KdprobeError(
                f"The transfer set does not hold the tail's mass at temperature {temperature}.",
                "It cannot be derived from the top k; capture again with this temperature planned.",
            )
        return _train(student, examples, self.options.objective, self.options, context)


class SequenceDistiller:
    """Cross-entropy on the teacher's responses: sequence-level distillation (Kim & Rush, 2016, arXiv 1606.07947)."""

    needs: frozenset[Need] = frozenset({"responses"})

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options

    def temperatures(self) -> tuple[float, ...]:
        """None: it reads the responses alone."""
        return ()

    def train(self, context: TrainContext) -> Trained:
        """Trains on the transfer set's responses.

        Raises:
            KdprobeError: The student's tokenizer is not the teacher's.
        """
        student, examples = _taught(context, "sequence")
        texts = [replace(example, lesson=None) for example in examples]
        return _train(student, texts, Objective(), self.options, context)


class FineTuneDistiller:
    """Cross-entropy on the gold solutions, no teacher: the control that asks what distillation adds."""

    needs: frozenset[Need] = frozenset({"gold"})

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options

    def temperatures(self) -> tuple[float, ...]:
        """None: it reads no transfer set."""
        return ()

    def train(self, context: TrainContext) -> Trained:
        """Trains on the worked gold solutions, calculator marks stripped."""
        student = load(context.student, dtype=context.dtype)
        examples = from_gold(context.problems, context.conversations, student.tokenizer)
        return _train(student, examples, Objective(), self.options, context)


def _train(
    student: LoadedModel, examples: list[Example], objective: Objective, options: TrainingOptions, context: TrainContext
) -> Trained:
    # Imported here: peft takes seconds, and planning needs none of it.
    from kdprobe.distill.training.trainer import train

    return train(student, examples, objective, options, context)


def _taught(context: TrainContext, distiller: str) -> tuple[LoadedModel, list[Example]]:
    """The student, and what the teacher left behind as examples for it."""
    if context.transfer is None:
        raise KdprobeError(f"The distiller {distiller!r} was given no transfer set.")
    student = load(context.student, dtype=context.dtype)
    return student, from_transfer(context.transfer, context.conversations, student.tokenizer)
