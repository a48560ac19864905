"""The built-in distillers: `logits` (sparse, prompt-primed KD) and `fine-tune` (the control on gold solutions)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from kdprobe.distill.distiller import Need, TrainContext, Trained
from kdprobe.distill.examples import from_gold, from_transfer
from kdprobe.distill.objectives import SparseLogprobs, divergence
from kdprobe.distill.options import LogitsOptions, TrainingOptions
from kdprobe.distill.trainer import train
from kdprobe.errors import KdprobeError
from kdprobe.models.load import load


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
        if context.transfer is None:
            raise KdprobeError("The distiller 'logits' was given no transfer set.")
        student = load(context.student, dtype=context.dtype)
        examples = from_transfer(context.transfer, context.conversations, student.tokenizer)
        temperature = self.options.temperature
        if any(example.teacher is None for example in examples):
            raise KdprobeError(
                "The teacher left no log-probabilities, which the distiller 'logits' learns from.",
                "Use a teacher that gives them.",
            )
        if any(temperature not in example.teacher.tail_logmass for example in examples if example.teacher):
            raise KdprobeError(
                f"The transfer set does not hold the tail's mass at temperature {temperature}.",
                "It cannot be derived from the top k; capture again with this temperature planned.",
            )
        return train(student, examples, self._row_loss, self.options, context, temperature=temperature)

    def _row_loss(self, logits: Tensor, labels: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        options = self.options
        teacher = SparseLogprobs.from_stored(
            batch["teacher_ids"], batch["teacher_logprobs"], batch["teacher_tail"], options.temperature
        )
        apart = divergence(logits, teacher, options.divergence, options.temperature)
        parts = {"divergence": apart}
        loss = (1 - options.alpha) * options.temperature**2 * apart
        if options.alpha > 0:
            parts["cross_entropy"] = cross_entropy(logits.float(), labels, reduction="none")
            loss = loss + options.alpha * parts["cross_entropy"]
        return {"loss": loss, **parts}


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
        return train(student, examples, _cross_entropy, self.options, context)


def _cross_entropy(logits: Tensor, labels: Tensor, _batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"loss": cross_entropy(logits.float(), labels, reduction="none")}
