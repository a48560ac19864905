"""One colour per arm, the same in every chart and next to every answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from kdprobe.comparison.arms import NO_ANSWERS, Arm
from kdprobe.console.streams import visible

GREY = 0
COLOURS = 7
"""Colours besides grey, which are `--arm-1` to `--arm-7` in the page's style."""


class ShownArm(TypedDict):
    """An arm.

    Attributes:
        name: The arm's name.
        group: What arms that differ only by their seed have in common: the strategy, or the name without the seed.
        colour: 0, grey, for a student that nobody taught, else 1 to 7; arms that differ only by their seed share it.
        hollow: Whether the colour has been used before, so that its mark is drawn as an outline.
    """

    name: str
    group: str
    colour: int
    hollow: bool


def shown_arms(arms: Sequence[Arm]) -> list[ShownArm]:
    """The arms in their order, with their colours.

    Args:
        arms: All arms, including those without answers.
    """
    planned = any(arm.strategy is not None for arm in arms)
    places: dict[str, int] = {}
    shown: list[ShownArm] = []
    for arm in arms:
        if planned and arm.untrained:
            colour, hollow = GREY, False
        else:
            place = places.setdefault(arm.group, len(places))
            colour, hollow = place % COLOURS + 1, place // COLOURS % 2 == 1
        shown.append({"name": visible(arm.name), "group": visible(arm.group), "colour": colour, "hollow": hollow})
    return shown


def named_arms(names: Sequence[str]) -> list[ShownArm]:
    """Students or files of which nothing is known but their names, a colour each."""
    return shown_arms([Arm(name, NO_ANSWERS) for name in names])
