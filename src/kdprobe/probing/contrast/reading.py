"""Reads one text of a pair: scores it, and records what the layers write."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdprobe.errors import NonFiniteError
from kdprobe.models.anatomy import Anatomy, anatomy, mlp_modules
from kdprobe.models.devices.spread import input_device
from kdprobe.models.forward.prefix import Prefix, read_prefix, separable
from kdprobe.probing.contrast.sites import Site
from kdprobe.probing.interventions.exact_effects import TOLERANCE, answering, restarted
from kdprobe.probing.interventions.forward import CleanRun, InMemory, clean_run

_SAME = 1e-3
"""Largest difference, in nats, between scores of a text that is read at once and in two parts; rounding is 1e-5."""


@dataclass(frozen=True)
class Text:
    """What one run reads.

    Attributes:
        ids: Token ids.
        answers: The two tokens that are compared after them.
        prefix: The first of the ids, if they were read before.
    """

    ids: tuple[int, ...]
    answers: tuple[int, int]
    prefix: Prefix | None = None

    @property
    def start(self) -> int:
        """The first position that is still to be read."""
        return self.prefix.length if self.prefix else 0


@dataclass(frozen=True)
class ContrastReader:
    """A student that reads pairs.

    Attributes:
        name: Its name, for errors.
        model: A Hugging Face causal language model in evaluation mode.
        anatomy: The location of its heads.
        mlps: Its MLPs, one per layer; empty if they are not found.
    """

    name: str
    model: Any
    anatomy: Anatomy
    mlps: list[nn.Module]

    def score(self, sequence: Text, copies: int = 1) -> Tensor:
        """Log p of the first answer minus log p of the second, `[copies, 1]`, float64, in nats.

        Raises:
            NonFiniteError: A logit is NaN or infinite.
        """
        device = input_device(self.model)
        ids = torch.tensor([sequence.ids], device=device).expand(copies, -1)
        last = torch.tensor([len(sequence.ids) - 1 - sequence.start], device=device)
        cache = {} if sequence.prefix is None else {"past_key_values": sequence.prefix.lent(copies)}
        logits = self.model(
            input_ids=ids[:, sequence.start :],
            attention_mask=torch.ones_like(ids),
            logits_to_keep=last,
            use_cache=bool(cache),
            **cache,
        ).logits[:, -1]
        first, second = logits[:, list(sequence.answers)].double().T
        # The normalisation of the two log-probabilities is the same and cancels.
        score: Tensor = first - second
        if not score.isfinite().all():
            raise NonFiniteError(f"The logits of {self.name!r} are NaN or infinite.")
        return score[:, None]


@dataclass(frozen=True)
class Recorded:
    """What the layers wrote in one run.

    Attributes:
        run: The run.
        mlps: The output of each MLP, `[1, position, d_model]`.
    """

    run: CleanRun
    mlps: list[Tensor]

    def of(self, site: Site) -> Tensor:
        """What a site's layer writes: `[position, d_model]`, or for heads `[position, head, head_dim]`."""
        if site.kind == "head":
            return self.run.z[site.layer]
        return (self.run.inputs if site.kind == "residual" else self.mlps)[site.layer][0]


def contrast_reader(name: str, student: InMemory) -> ContrastReader:
    """Prepares a loaded student.

    Args:
        name: Its name.
        student: Its model and its tokenizer; float32, if effects are to be distinguished from rounding errors.

    Raises:
        KdprobeError: The attention heads of its architecture are not found.
    """
    student.model.requires_grad_(False)
    reader = ContrastReader(name, student.model, anatomy(student.model), mlp_modules(student.model))
    return reader if _write_alone(reader) else ContrastReader(name, reader.model, reader.anatomy, [])


def begun(reading: ContrastReader, text: Text, start: int, score: float) -> Text:
    """The text with as much of its beginning read as possible, if that gives the same score."""
    ids = separable(reading.model.config.get_text_config(), text.ids[:start])
    prefix = read_prefix(reading.model, ids) if ids else None
    parted = Text(text.ids, text.answers, prefix)
    return parted if prefix and abs(float(reading.score(parted)[0]) - score) <= _SAME else text


def recorded(reading: ContrastReader, text: Text) -> Recorded:
    """Reads a text, from where its prefix ends, and keeps what the layers write."""
    written: list[Tensor] = []
    forms: list[tuple[nn.Module, bool]] = []

    def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
        bundled = isinstance(output, tuple)
        forms.append((module, bundled))
        # Copied, because some layers add to it in place.
        written.append((output[0] if bundled else output).clone())

    with ExitStack() as stack:
        for module in reading.mlps:
            stack.callback(module.register_forward_hook(keep).remove)
        run = clean_run(reading, text)
    run.bundled.update(module for module, bundled in forms if bundled)
    return Recorded(run, [output.view(1, len(text.ids) - text.start, -1) for output in written])


@torch.no_grad()
def _write_alone(reading: ContrastReader) -> bool:
    """Whether MLPs add to the residual stream, and do not pass it on themselves, as those of BLOOM and MPT do.

    Also checks, on a few tokens, that replacing each MLP's output by itself changes nothing.
    """
    inputs: list[int] = []
    text = Text(tuple(range(8)), (0, 1))

    def count(_module: nn.Module, positional: Any, keyword: Any) -> None:
        given = [*positional, *keyword.values()]
        inputs.append(sum(isinstance(each, Tensor) and each.is_floating_point() for each in given))

    with ExitStack() as stack:
        for module in reading.mlps:
            stack.callback(module.register_forward_pre_hook(count, with_kwargs=True).remove)
        own = recorded(reading, text)
    if inputs != [1] * len(reading.mlps):
        return False
    for layer, (mlp, output) in enumerate(zip(reading.mlps, own.mlps, strict=True)):
        with restarted(reading, own.run, layer, own.run.attended[layer]), answering(mlp, output.clone(), own.run):
            if not float((reading.score(text)[0] - own.run.log_p).abs()) <= TOLERANCE:
                return False
    return True
