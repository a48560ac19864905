"""One forward pass over question and gold solution, recording what the heads do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kdprobe.console import Progress
from kdprobe.models.anatomy import Anatomy, anatomy
from kdprobe.models.devices.spread import input_device
from kdprobe.models.lm_head import log_probabilities, without_lm_head
from kdprobe.students.sequence import ProblemSequence

TARGETS = ("solution", "value")
"""What is scored: all tokens of the gold solution, or those of the gold value where the reasoning computes it."""


class InMemory(Protocol):
    """A loaded student, as `probed.students[NAME].load(dtype="float32")` and `run.students[NAME].load()` return it."""

    @property
    def model(self) -> Any:
        """A Hugging Face causal language model in evaluation mode."""

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""


@dataclass(frozen=True)
class Reader:
    """A student that reads gold solutions, with its output matrix detached.

    Attributes:
        student: The loaded student: `model` and `tokenizer`.
        anatomy: The location of its heads.
        matrix: Its output matrix, `[V, d_model]`, or `None` if the model does more than multiply by it.
    """

    student: InMemory
    anatomy: Anatomy
    matrix: Tensor | None

    @cached_property
    def output_matrices(self) -> list[Tensor]:
        """W_O of every head, for each layer `[head, head_dim, d_model]`; layers may be on different devices."""
        return [self.anatomy.output_matrix(layer).clone() for layer in range(len(self.anatomy))]

    def score(self, sequence: ProblemSequence, copies: int = 1, mask: Tensor | None = None) -> Tensor:
        """Reads a sequence; hooks or masks make the copies differ.

        Args:
            sequence: Question and gold solution.
            copies: How many copies to read at once. Heads are batched, not problems, so nothing is padded.
            mask: 0 at hidden tokens, `[copies, position]`; by default nothing is hidden. Positions do not change.

        Returns:
            Log-probability of the targets, `[copies, target]`, float64, in nats.
        """
        vocabulary = len(self.student.tokenizer)
        return score(self.student.model, self.matrix, vocabulary, sequence, copies=copies, mask=mask)


def score(  # noqa: PLR0917
    model: Any,
    matrix: Tensor | None,
    vocabulary: int,
    sequence: ProblemSequence,
    copies: int = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """Reads a sequence with a model whose output matrix is detached; as `Reader.score`.

    Args:
        model: The model.
        matrix: Its output matrix, `[V, d_model]`, or `None` if it is not detached.
        vocabulary: The number of real token ids.
        sequence: Question and gold solution.
        copies: How many copies to read at once.
        mask: 0 at hidden tokens, `[copies, position]`.
    """
    ids = torch.tensor([sequence.ids_without_end], device=input_device(model))
    rows = torch.arange(sequence.begin - 1, ids.shape[1] - 1, device=ids.device)
    masking = {}
    if mask is not None:
        # Given explicitly, because some models count positions over unmasked tokens only.
        positions = torch.arange(ids.shape[1], device=ids.device).expand(copies, -1)
        masking = {"attention_mask": mask.to(ids.device), "position_ids": positions}
    output = model(input_ids=ids.expand(copies, -1), logits_to_keep=rows, use_cache=False, **masking).logits
    targets = ids[0, sequence.begin :].repeat(copies)
    subject = f"the gold solution of problem {sequence.id!r}"
    log_p = log_probabilities(output.flatten(0, 1), targets, matrix, vocabulary, subject=subject)
    log_p = log_p.view(copies, -1)
    value = torch.tensor(sequence.value, device=ids.device) - sequence.begin
    return torch.stack([log_p.sum(dim=1), log_p[:, value].sum(dim=1)], dim=1)


@contextmanager
def reader(student: InMemory) -> Iterator[Reader]:
    """Prepares a loaded student for reading, without gradients to its weights.

    Args:
        student: Its model and its tokenizer; float32, if effects are to be distinguished from rounding errors.

    Raises:
        KdprobeError: The attention heads of its architecture are not found.
    """
    student.model.requires_grad_(False)
    with without_lm_head(student.model, len(student.tokenizer)) as matrix:
        yield Reader(student, anatomy(student.model), matrix)


class Scores(Protocol):
    """A student whose passes are scored, such as a `Reader`."""

    @property
    def anatomy(self) -> Anatomy:
        """The location of its heads."""

    def score(self, sequence: Any, copies: int = 1) -> Tensor:
        """Reads copies of a sequence, which hooks make differ: `[copies, target]`."""


@dataclass(frozen=True)
class CleanRun:
    """A record of a clean pass over one sequence; lists have one entry per layer.

    Attributes:
        log_p: The score, such as the log-probability of the targets, `[target]`.
        inputs: The residual stream read by each layer, `[1, position, d_model]`.
        attended: The output of each attention module, `[1, position, d_model]`.
        z: The heads' outputs before W_O, `[position, head, head_dim]`.
        bundled: The modules whose output is a tuple that starts with these tensors.
    """

    log_p: Tensor
    inputs: list[Tensor]
    attended: list[Tensor]
    z: list[Tensor]
    bundled: set[nn.Module]


def clean_run(reading: Scores, sequence: Any) -> CleanRun:
    """Reads a sequence and records what the layers did; under `torch.enable_grad()` including the graph."""
    inputs: list[Tensor] = []
    attended: list[Tensor] = []
    z: list[Tensor] = []
    bundled: set[nn.Module] = set()
    parts = reading.anatomy

    def enter(_module: Any, positional: Any, keyword: Any) -> None:
        inputs.append(positional[0] if positional else keyword["hidden_states"])

    def heads(_module: Any, positional: Any) -> None:
        z.append(positional[0][0].unflatten(-1, (parts.heads, -1)))

    def attend(module: Any, _positional: Any, output: Any) -> None:
        note_form(module, _positional, output)
        attended.append(output[0] if isinstance(output, tuple) else output)

    def note_form(module: Any, _positional: Any, output: Any) -> None:
        if isinstance(output, tuple):
            bundled.add(module)

    with ExitStack() as stack:
        for layer, attention, projection in zip(parts.layers, parts.attentions, parts.outputs, strict=True):
            for handle in (
                layer.register_forward_pre_hook(enter, with_kwargs=True),
                layer.register_forward_hook(note_form),
                projection.register_forward_pre_hook(heads),
                attention.register_forward_hook(attend),
            ):
                stack.callback(handle.remove)
        log_p = reading.score(sequence)[0]
    return CleanRun(log_p, inputs, attended, z, bundled)


@dataclass(frozen=True)
class HeadOutputs:
    """The output of every head of a student on every sequence.

    Attributes:
        log_p: Of the targets, `[sequence, target]`, in main memory.
        z: Per sequence, `[layer, position, head, head_dim]`, in main memory.
        matrices: W_O, for each layer `[head, head_dim, d_model]`.
    """

    log_p: Tensor
    z: list[Tensor]
    matrices: list[Tensor]


@torch.no_grad()
def head_outputs(reading: Reader, sequences: Sequence[ProblemSequence], *, bar: Progress) -> HeadOutputs:
    """Reads all sequences without changing anything.

    Args:
        reading: The student.
        sequences: What it reads.
        bar: Advanced by one per sequence.
    """
    log_p, z = [], []
    for sequence in sequences:
        run = clean_run(reading, sequence)
        log_p.append(run.log_p.cpu())
        z.append(torch.stack([layer.cpu() for layer in run.z]))
        bar.advance(1)
    return HeadOutputs(torch.stack(log_p), z, reading.output_matrices)
