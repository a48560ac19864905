"""The section `[evaluation]` of an experiment's config."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from kdprobe.evaluation.engines.engine import BUILT_IN
from kdprobe.evaluation.tasks.choice import TaskChoice
from kdprobe.experiment.section import Section, Seed, Temperature, named

DECIDING = "gsm8k_kdprobe"
"""The task that decides, which every experiment has."""
Role = Literal["decides", "also", "retention"]
RETENTION_MARGIN = 0.02


class TaskConfig(Section):
    """An lm-eval task that students are evaluated on; a plain string in the config is its name."""

    name: str = Field(description="A task, group or tag of lm-eval, of `include_path`, or of a plugin.")
    role: Role = Field(
        default="also",
        description="`also`: the task is only reported. `retention`: students must not score more than `margin` "
        "below the untrained one.",
    )
    limit: int | None = Field(
        default=None, ge=1, le=2**31, description="Number of documents, drawn at random from the whole group."
    )
    num_fewshot: int | None = Field(default=None, ge=0, le=1000, description="Examples in the prompt.")
    chat_template: bool | None = Field(
        default=None,
        description="Whether to apply the chat template; by default, only to tasks whose answers are generated.",
    )
    metric: str | None = Field(default=None, description="The metric that scores a document.")
    seed: Seed = Field(default=0, description="Seed of the draw.")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the plugin that provides the task.",
        exclude_if=lambda options: not options,
    )
    margin: float = Field(
        default=RETENTION_MARGIN,
        gt=0,
        lt=math.inf,
        description="The largest loss with which a score still counts as retained, in the metric's unit: 0.02 is 2 "
        "points of accuracy.",
    )

    @model_validator(mode="before")
    @classmethod
    def _decides_by_name(cls, value: Any) -> Any:
        return {"role": "decides", **value} if isinstance(value, dict) and value.get("name") == DECIDING else value

    @model_validator(mode="after")
    def _has_a_possible_role(self) -> Self:
        if (self.role == "decides") != (self.name == DECIDING):
            raise ValueError(
                f"only {DECIDING} can have the role 'decides'; other tasks have the role 'also' or 'retention'"
            )
        return self

    @property
    def choice(self) -> TaskChoice:
        """The task as evaluations take it."""
        return TaskChoice(self.name, self.limit, self.num_fewshot, self.seed, self.chat_template, self.metric)


def _only_deciding(tasks: list[TaskConfig]) -> bool:
    return tasks == [TaskConfig(name=DECIDING)]


class EvaluationConfig(Section):
    """One protocol for all arms."""

    max_new_tokens: int = Field(default=512, ge=1)
    temperature: Temperature = 0.0
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: Seed = 0
    samples: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Answers to each problem of the task that the verdict rests on. More than one requires a "
        "`temperature` above 0.",
        exclude_if=lambda samples: samples == 1,
    )
    batch_size: int | Literal["auto"] = Field(
        default=32, description="Problems answered at once; 'auto' adapts to the free memory."
    )
    # Left out of the data unless they are stated, because a run's name is a digest of them.
    parts: int = Field(
        default=1,
        ge=1,
        le=100_000,
        description="Number of stages that share the test problems of an arm.",
        exclude_if=lambda parts: parts == 1,
    )
    tasks: list[Annotated[TaskConfig, BeforeValidator(named)]] = Field(
        default_factory=lambda: [TaskConfig(name=DECIDING)],
        description=f"The tasks; {DECIDING} is always among them.",
        exclude_if=_only_deciding,
    )
    include_path: list[str] = Field(
        default_factory=list,
        description="Folders with tasks as YAML, relative to the config.",
        exclude_if=lambda folders: not folders,
    )

    engine: str = Field(
        default=BUILT_IN,
        description="What runs the students: an engine as listed by `kdprobe plugins`.",
        exclude_if=lambda name: name == BUILT_IN,
    )
    engine_options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the engine.", exclude_if=lambda options: not options
    )

    _folder: Path = PrivateAttr(default=Path())
    """The config's folder, which does not affect results; set by the code that reads the config."""

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("several samples need a temperature above 0: greedy answers are all the same")
        return self

    @field_validator("tasks")
    @classmethod
    def _named_once(cls, tasks: list[TaskConfig]) -> list[TaskConfig]:
        names = [task.name for task in tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"names {', '.join(twice)} more than once")
        return tasks if DECIDING in names else [TaskConfig(name=DECIDING), *tasks]

    @property
    def decoding(self) -> dict[str, Any]:
        """How the deciding task is decoded: the arguments for a `Protocol`."""
        return self.model_dump(exclude={"parts", "tasks", "include_path", "engine", "engine_options"})

    def __eq__(self, other: object) -> bool:
        """Where a config lies does not make it another one."""
        return isinstance(other, EvaluationConfig) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def within(self, folder: Path) -> Self:
        """The section of a config in a folder, in which `include_path` begins."""
        placed = self.model_copy()
        placed._folder = folder  # noqa: SLF001 - its own
        return placed

    @property
    def folder(self) -> Path:
        """The folder in which `include_path` begins."""
        return self._folder.resolve()

    @property
    def folders(self) -> list[Path]:
        """The folders with tasks."""
        return [self._folder / folder for folder in self.include_path]

    @property
    def benchmarks(self) -> list[TaskConfig]:
        """The tasks besides the deciding one."""
        return [task for task in self.tasks if task.role != "decides"]

    @field_validator("batch_size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        is_positive_integer = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if not is_positive_integer and value != "auto":
            raise ValueError('must be "auto" or a positive integer')
        return value
