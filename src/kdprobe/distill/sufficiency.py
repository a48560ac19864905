"""Refuses transfer sets that keep less of the teacher than a distiller needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdprobe.distill.distiller import AdaptiveDistiller, Distiller
from kdprobe.errors import KdprobeError

if TYPE_CHECKING:
    from kdprobe.transfer.transfer_set import TransferSet


def refuse_cut_rows(name: str, distiller: Distiller, tail: float | None) -> None:
    """Checks that a distiller can learn from rows cut to a tail.

    Args:
        name: The distiller's name.
        distiller: The distiller.
        tail: The setting `transfer.tail` that the rows are captured with.

    Raises:
        KdprobeError: It compares distributions by something else than forward KL.
    """
    takes = isinstance(distiller, AdaptiveDistiller) and distiller.takes_cut_rows()
    if tail is not None and distiller.temperatures() and not takes:
        raise KdprobeError(
            f"With transfer.tail = {tail:g}, a transfer set keeps only as many log-probabilities per position as "
            f"forward KL needs, but the distiller {name!r} needs more.",
            'Remove transfer.tail and capture again, or distil with the option divergence = "forward-kl".',
        )


def refuse_insufficient(name: str, distiller: Distiller, transfer: TransferSet) -> None:
    """Checks that a transfer set has what a distiller needs of the teacher's distributions.

    Args:
        name: The distiller's name.
        distiller: A distiller that compares distributions.
        transfer: The transfer set.

    Raises:
        KdprobeError: It has no log-probabilities, no tail at one of the temperatures, or rows cut for forward KL only.
    """
    texts = transfer.responses.texts
    if any(len(text.token_ids) and not transfer.responses.has_distributions(place) for place, text in enumerate(texts)):
        raise KdprobeError(
            f"The transfer set has no log-probabilities, which the distiller {name!r} needs.",
            "Use a teacher that returns log-probabilities.",
        )
    known = transfer.responses.temperatures
    if missing := [temperature for temperature in distiller.temperatures() if temperature not in known]:
        raise KdprobeError(
            f"The transfer set does not contain the tail mass at temperature {missing[0]}.",
            "It cannot be derived from the top k; capture the transfer set again with this temperature.",
        )
    refuse_cut_rows(name, distiller, transfer.manifest.get("sampling", {}).get("tail"))
