"""Which of lm-eval's tasks a model is evaluated on, and on how many of its documents."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class TaskChoice:
    """A task of lm-eval, or a group or tag of tasks.

    Attributes:
        name: Its name in lm-eval, in the folders of tasks, or of a plugin.
        limit: Number of documents, drawn at random from the whole group; `None` takes all.
        num_fewshot: Number of examples in the prompt; `None` takes the task's own.
        seed: The seed of the draw.
        chat_template: Whether the chat template is applied; `None` applies it to tasks in which the model writes text.
        metric: The metric that scores a document; `None` takes the first that is a single number.
    """

    name: str
    limit: int | None = None
    num_fewshot: int | None = None
    seed: int = 0
    chat_template: bool | None = None
    metric: str | None = None

    def as_row(self) -> dict[str, Any]:
        """All fields as JSON data."""
        return asdict(self)
