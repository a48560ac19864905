"""Activation patching: what one run writes at some positions replaces what the other writes there.

The clean run reads a problem, the counterfactual run the same problem with different numbers. Each is scored by log p
of the clean answer minus that of the counterfactual answer (Zhang and Nanda, 2024, arXiv 2309.16042).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.errors import KdprobeError
from kdprobe.probing.contrast.pairs import ContrastPair
from kdprobe.probing.contrast.reading import ContrastReader, Recorded, Text, begun, recorded
from kdprobe.probing.contrast.sites import Kind, Site
from kdprobe.probing.interventions.exact_effects import TOLERANCE, answering, restarted, started_with
from kdprobe.probing.interventions.forward import CleanRun

Array = NDArray[np.float64]
_NEAR = 8
"""Sites whose passes start this many tokens apart share them."""


@dataclass(frozen=True)
class Effects:
    """The effects of patching on one pair, in nats.

    Attributes:
        clean: Log p of the clean answer minus log p of the counterfactual answer in the clean run.
        other: The same in the counterfactual run.
        changes: The patched run's minus the clean run's, `[site]`; NaN where a pair lacks the part of the text.
    """

    clean: float
    other: float
    changes: Array


@torch.no_grad()
def patched_effects(reading: ContrastReader, pair: ContrastPair, sites: Sequence[Site], *, batch_size: int) -> Effects:
    """Patches each site from the counterfactual run into the clean run.

    What was recorded of the counterfactual run is kept on the CPU.

    Args:
        reading: The student.
        pair: The pair.
        sites: What to patch, one at a time.
        batch_size: Sites of a layer per pass.

    Raises:
        KdprobeError: The student does not work in the way that patching assumes.
        NonFiniteError: A logit is NaN or infinite.
    """
    text = Text(pair.clean, pair.answers)
    other = recorded(reading, Text(pair.other, pair.answers))
    score, other_score = float(reading.score(text)[0]), float(other.run.log_p[0])
    donors = {layer: other.of(site).cpu() for layer, site in {(site.kind, site.layer): site for site in sites}.items()}
    del other
    changes = np.array([0.0 if pair.within(site.part).any() else np.nan for site in sites])
    whole = [column for column, site in enumerate(sites) if site.by_construction]
    # Computed, and checked, before the first and the last layer.
    changes[whole[1:-1]] = other_score - score
    for start, columns in _by_start(pair, sites, set(whole[1:-1])).items():
        rest = begun(reading, text, start, score)
        clean = recorded(reading, rest)
        by_layer: dict[tuple[Kind, int], list[int]] = {}
        for column in columns:
            by_layer.setdefault((sites[column].kind, sites[column].layer), []).append(column)
        for layer, of_layer in by_layer.items():
            chosen = [sites[column] for column in of_layer]
            changes[of_layer] = _changes(reading, rest, clean, donors[layer], chosen, pair, batch_size)
    for column in whole[:1] + whole[-1:]:
        if not abs(changes[column] - (other_score - score)) <= TOLERANCE:
            raise KdprobeError(
                "In this architecture, later layers read more than the residual stream: after patching in the "
                f"counterfactual's residual stream, log p is off by {changes[column] - (other_score - score):.2g}.",
                "Remove the analysis: effects would be wrong.",
            )
    return Effects(score, other_score, changes)


def _by_start(pair: ContrastPair, sites: Sequence[Site], skipped: set[int]) -> dict[int, list[int]]:
    """Columns of sites by the position from which their passes have to start: nothing before it changes.

    Sites without a position at which the two runs may differ are left out.
    """
    if not pair.differing.any():
        return {}
    first = int(pair.differing.argmax())
    positions = {}
    for column, site in enumerate(sites):
        patched = np.flatnonzero(pair.within(site.part)[first:]) + first
        if len(patched) and column not in skipped:
            positions[column] = int(patched[0])
    starts: dict[int, list[int]] = {}
    for column in sorted(positions, key=lambda each: positions[each]):
        near = next((start for start in starts if positions[column] - start <= _NEAR), positions[column])
        starts.setdefault(near, []).append(column)
    return starts


def _changes(  # noqa: PLR0917
    reading: ContrastReader,
    text: Text,
    clean: Recorded,
    donor: Tensor,
    sites: Sequence[Site],
    pair: ContrastPair,
    batch_size: int,
) -> Array:
    """The effects of sites of one kind and layer, `[site]`, in nats."""
    own = clean.of(sites[0])
    if sites[0].kind == "head":
        _refuse_other_outputs(reading, clean.run, sites[0].layer)
    from_other = donor[text.start :].to(own.device)
    mixed = [_patched(own, from_other, site, pair.within(site.part)[text.start :]) for site in sites]
    changes = np.zeros(len(sites))
    # Before the first layer, for example, words are the same in both runs.
    differing = [index for index, each in enumerate(mixed) if not torch.equal(each, own)]
    for first in range(0, len(differing), batch_size):
        chosen = differing[first : first + batch_size]
        with _replaced(reading, clean.run, sites[0], torch.stack([mixed[index] for index in chosen])):
            patched = reading.score(text, copies=len(chosen))[:, 0]
        changes[chosen] = (patched - clean.run.log_p[0]).cpu().numpy()
    return changes


def _patched(own: Tensor, other: Tensor, site: Site, mask: NDArray[np.bool_]) -> Tensor:
    """What a layer writes, with the site's part of it from the other run."""
    mixed, positions = own.clone(), torch.from_numpy(mask).to(own.device)
    if site.kind == "head":
        mixed[positions, site.head] = other[positions, site.head]
    else:
        mixed[positions] = other[positions]
    return mixed


@contextmanager
def _replaced(reading: ContrastReader, run: CleanRun, site: Site, mixed: Tensor) -> Iterator[None]:
    """While the block runs, the site's layer writes this in each copy, and layers below it are skipped."""
    layer, copies = site.layer, len(mixed)
    if site.kind == "residual":
        with started_with(reading, run, layer, mixed):
            yield
    elif site.kind == "head":
        with restarted(reading, run, layer, reading.anatomy.outputs[layer](mixed.flatten(2))):
            yield
    else:
        attended = run.attended[layer].expand(copies, -1, -1)
        with restarted(reading, run, layer, attended), answering(reading.mlps[layer], mixed, run):
            yield


def _refuse_other_outputs(reading: ContrastReader, run: CleanRun, layer: int) -> None:
    """Checks that the output projection of the heads' outputs is what the attention module writes."""
    written = reading.anatomy.outputs[layer](run.z[layer][None].flatten(2))
    scale = float(run.attended[layer].abs().max())
    if written.shape != run.attended[layer].shape or not float(
        (written - run.attended[layer]).abs().max()
    ) <= 1e-4 * max(1.0, scale):
        raise KdprobeError(
            "The heads of this architecture do not add up to its attention output.",
            "Set the option `heads` of `contrast` to none, because effects of single heads would be wrong.",
        )
