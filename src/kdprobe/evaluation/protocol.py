"""Everything that decides a score besides the student, the same for all arms."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from kdprobe.errors import UsageError
from kdprobe.models.reference import Dtype

TASK = "gsm8k_kdprobe"
TASK_FORMAT = 4
"""Goes up when a prompt, a filter or a metric of the task changes, or what `robust` reads: another evaluation."""
COMPLETION = "_completion"
"""How the names of tasks for models without a chat template end."""
BARE = {True: TASK, False: f"{TASK}{COMPLETION}"}
"""The bare question, for models with a chat template and without: the form that students are trained on."""
FORMS = ("", "_fewshot", "_cot")
TASKS = tuple(f"{TASK}{form}{ending}" for ending in ("", COMPLETION) for form in FORMS)


def task_folder() -> Path:
    """The folder to give lm-eval as `--include_path`: inside the wheel, or at the top of a source tree."""
    package = Path(str(files("kdprobe")))
    installed = package / "tasks"
    return installed if installed.is_dir() else package.parents[1] / "tasks"


@dataclass(frozen=True)
class Protocol:
    """How every student is evaluated.

    Attributes:
        max_new_tokens: Token budget of a response.
        temperature: Of the sampling; 0 decodes greedily.
        top_p: Nucleus of the sampling.
        seed: Of the sampling.
        batch_size: Problems decoded at once; `auto` is as many as memory and throughput suggest.
        dtype: Data type of the student's weights.
        task: The task's name; `None` is the bare question, with a chat template where the model has one.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    batch_size: int | Literal["auto"] = 32
    dtype: Dtype = "auto"
    task: str | None = None

    def generation_arguments(self) -> dict[str, Any]:
        """The arguments that lm-eval takes over the task's own."""
        sampled = {"temperature": self.temperature, "top_p": self.top_p} if self.temperature > 0 else {}
        return {"max_gen_toks": self.max_new_tokens, "do_sample": self.temperature > 0, **sampled}

    def as_row(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


def task_of(protocol: Protocol, *, chat: bool) -> str:
    """The task's name.

    Args:
        protocol: How models are evaluated.
        chat: Whether this one has a chat template.

    Raises:
        UsageError: The task needs a chat template, and there is none.
    """
    if protocol.task is None:
        return BARE[chat]
    if not chat and not protocol.task.endswith(COMPLETION):
        raise UsageError(
            f"The task {protocol.task} needs a chat template, and the model has none.",
            f"Use {protocol.task}{COMPLETION}.",
        )
    return protocol.task
