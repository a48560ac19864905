"""What may be set with `--option ray.NAME=VALUE`."""

from __future__ import annotations

from pydantic import BaseModel, Field, field_validator


class RayOptions(BaseModel):
    """Options of the executor `ray`. None of them is part of a key."""

    address: str | None = Field(
        default=None,
        description="`auto` or HOST:PORT joins a cluster that this machine is part of; by default, one is started on "
        "this machine for the run.",
    )
    retries: int = Field(
        default=3, ge=0, description="How many times a stage is resumed after its process or machine is lost."
    )
    cpus: int = Field(
        default=1, ge=1, description="CPUs to request for each stage if `threads` in [resources] is not set."
    )

    @field_validator("address")
    @classmethod
    def _without_client(cls, address: str | None) -> str | None:
        if address and address.startswith("ray://"):
            raise ValueError(
                "must not be a Ray Client address, because stages share kdprobe's store; run kdprobe on a machine of "
                "the cluster, and use 'auto'"
            )
        return address
