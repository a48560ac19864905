"""The section `[resources]`: the threads and the device that stages are planned for."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from kdprobe.errors import UsageError
from kdprobe.experiment.costs.devices import parse
from kdprobe.experiment.section import Section
from kdprobe.models.outline.resources import Device, Resources


def _is_known(text: str | None) -> str | None:
    if text is not None:
        try:
            parse(text)
        except UsageError as error:
            raise ValueError(f"{error.message} {error.hint}") from error
    return text


def _is_whole_above_one(gpus: float) -> float:
    if gpus > 1 and not gpus.is_integer():
        raise ValueError("above 1, it must be a whole number")
    return gpus


Gpus = Annotated[float, AfterValidator(_is_whole_above_one)]
"""A number of GPUs, or the share of one: schedulers such as Ray divide only single GPUs."""
Hardware = Annotated[str | None, AfterValidator(_is_known)]
"""A model of devices and their number, such as `h100 x 8`."""


class StageResources(Section):
    """What stages run on. Threads and device affect numbers and are part of keys; the rest is not."""

    threads: int | None = Field(
        default=None, ge=1, le=1024, description="Number of CPU threads; by default, torch decides."
    )
    device: Device | None = Field(
        default=None, description="Kind of device; by default, that of the machine that makes the plan."
    )
    gpus: Gpus | None = Field(
        default=None,
        gt=0,
        exclude=True,
        description="GPUs that an executor reserves for each stage that runs on a GPU, by default 1; with 0.5, two "
        "stages share one.",
    )
    memory_gib: float | None = Field(
        default=None,
        gt=0,
        exclude=True,
        description="Main memory that an executor reserves for each stage, in GiB; by default, none.",
    )


class DevicesConfig(Section):
    """The models of devices that stages will run on; plans compute costs from them, and no key depends on them."""

    all: Hardware = Field(default=None, description="For stages whose kind is not listed.")
    transfer: Hardware = None
    select: Hardware = None
    distill: Hardware = None
    evaluate: Hardware = None
    task: Hardware = None
    analyse: Hardware = None

    def of(self, kind: str) -> str | None:
        """The devices of stages of a kind, as stated; `None` if nothing is."""
        stated: str | None = getattr(self, kind) or self.all
        return stated


class ResourcesConfig(StageResources):
    """What all stages run on, and exceptions for kinds of stages; and what plans compute costs from."""

    transfer: StageResources = StageResources()
    select: StageResources = StageResources()
    distill: StageResources = StageResources()
    evaluate: StageResources = StageResources()
    task: StageResources = StageResources()
    analyse: StageResources = StageResources()
    # Excluded from keys and names of runs: what a plan predicts does not change what is run.
    devices: DevicesConfig = Field(
        default=DevicesConfig(), exclude=True, description="Devices by kind of stage, for the cost estimates in a plan."
    )
    answer_tokens: int | None = Field(
        default=None,
        ge=1,
        exclude=True,
        description="Mean number of tokens in an answer, for the cost estimates in a plan; by default, that of "
        "finished stages, or else the token budget.",
    )
    served_model: str | None = Field(
        default=None,
        exclude=True,
        description="The model behind a teacher's server, for the cost estimates in a plan: a folder or an id on the "
        "Hub. Only its config.json is read.",
    )

    @property
    def changes_keys(self) -> bool:
        """Whether anything is stated besides what only plans read."""
        return self.model_dump() != ResourcesConfig().model_dump()

    def of(self, kind: str | None = None) -> Resources:
        """What stages of a kind run on; without one, what those without exceptions run on."""
        own: Any = getattr(self, kind) if kind else self
        stated = {name: getattr(own, name) or getattr(self, name) for name in StageResources.model_fields}
        return Resources(**stated)
