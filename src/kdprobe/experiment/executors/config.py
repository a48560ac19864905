"""The section `[resources]`: the threads and the device that stages are planned for."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from kdprobe.experiment.section import Section
from kdprobe.models.outline.resources import Device, Resources

KINDS = ("transfer", "select", "distill", "evaluate", "task", "analyse")


class StageResources(Section):
    """What stages run on, insofar as it affects numbers; part of their keys."""

    threads: int | None = Field(
        default=None, ge=1, le=1024, description="Number of CPU threads; by default, torch decides."
    )
    device: Device | None = Field(
        default=None, description="Kind of device; by default, that of the machine that makes the plan."
    )


class ResourcesConfig(StageResources):
    """What all stages run on, and exceptions for kinds of stages."""

    transfer: StageResources = StageResources()
    select: StageResources = StageResources()
    distill: StageResources = StageResources()
    evaluate: StageResources = StageResources()
    task: StageResources = StageResources()
    analyse: StageResources = StageResources()

    def of(self, kind: str | None = None) -> Resources:
        """What stages of a kind run on; without one, what those without exceptions run on."""
        own: Any = getattr(self, kind) if kind else self
        return Resources(own.threads or self.threads, own.device or self.device)
