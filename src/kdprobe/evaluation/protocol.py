"""Everything that determines a score besides the student; the same for all arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from kdprobe.errors import UsageError
from kdprobe.models.reference import Dtype

_T = TypeVar("_T")
TASK = "gsm8k_kdprobe"
TASK_FORMAT = 5
"""Incremented when a prompt, filter or metric of the task changes, or the values that `robust` extracts."""
COMPLETION = "_completion"
"""Suffix of tasks for models without a chat template."""
BARE = {True: TASK, False: f"{TASK}{COMPLETION}"}
"""The task with the bare question, as in training, for models with a chat template (`True`) and without."""
RETENTION_TASK = "basics_kdprobe"
"""A task outside of mathematics, on which students should lose nothing."""
FORMS = ("", "_fewshot", "_cot")
TASKS = tuple(f"{TASK}{form}{ending}" for ending in ("", COMPLETION) for form in FORMS)


def task_folder() -> Path:
    """The folder for lm-eval's `--include_path`: inside the wheel, or at the top of a source tree."""
    package = Path(str(files("kdprobe")))
    installed = package / "tasks"
    return installed if installed.is_dir() else package.parents[1] / "tasks"


@dataclass(frozen=True)
class Protocol:
    """How every student is evaluated.

    Attributes:
        max_new_tokens: Token budget of a response.
        temperature: Sampling temperature; 0 decodes greedily.
        top_p: Nucleus sampling threshold.
        seed: Sampling seed.
        samples: Number of answers to each problem; with more than one, answers are sampled.
        batch_size: Problems answered at once; `auto` chooses according to free memory and throughput.
        dtype: Data type of the student's weights.
        task: The task's name; `None` is the bare question, with a chat template if the model has one.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    samples: int = 1
    batch_size: int | Literal["auto"] = 32
    dtype: Dtype = "auto"
    task: str | None = None

    def generation_arguments(self) -> dict[str, Any]:
        """The arguments that override the task's own in lm-eval."""
        sampled = {"temperature": self.temperature, "top_p": self.top_p} if self.temperature > 0 else {}
        return {"max_gen_toks": self.max_new_tokens, "do_sample": self.temperature > 0, **sampled}

    def each_sample(self, problems: Sequence[_T]) -> list[_T]:
        """Repeats what belongs to each problem once for every answer; those of one problem are adjacent."""
        return [problem for problem in problems for _ in range(self.samples)]

    def as_row(self) -> dict[str, Any]:
        """All fields as JSON data; without `samples` if there is one, as in earlier versions."""
        row = asdict(self)
        return row if self.samples > 1 else {name: value for name, value in row.items() if name != "samples"}


def task_of(protocol: Protocol, *, chat: bool) -> str:
    """The task's name.

    Args:
        protocol: How models are evaluated.
        chat: Whether this model has a chat template.

    Raises:
        UsageError: The task needs a chat template, and the model has none.
    """
    if protocol.task is None:
        return BARE[chat]
    if not chat and not protocol.task.endswith(COMPLETION):
        raise UsageError(
            f"The task {protocol.task} needs a chat template, but the model has none.",
            f"Use {protocol.task}{COMPLETION}.",
        )
    return protocol.task
