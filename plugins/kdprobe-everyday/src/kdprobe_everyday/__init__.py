"""Everyday knowledge as retention tasks: kinds of things, opposites, and sequences that everybody knows."""

from collections.abc import Iterator
from pathlib import Path

from kdprobe import TaskSpec, hookimpl

kdprobe_api = 4

SUMMARIES = {
    "everyday": "Everyday knowledge: the three tasks below together",
    "everyday_kinds": "Four-way multiple choice: what kind of thing an oak is",
    "everyday_opposites": "Four-way multiple choice: what the opposite of hot is",
    "everyday_sequences": "Four-way multiple choice: what comes after Monday",
}


@hookimpl
def kdprobe_tasks() -> Iterator[TaskSpec]:
    """The group and its three tasks."""
    for name, summary in SUMMARIES.items():
        yield TaskSpec(name=name, summary=summary, build=lambda _: Path(__file__).parent / "tasks")
