"""Every arm's answers under every extractor; one of a plugin that fails costs its own figures, not the others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdprobe.console import note
from kdprobe.errors import KdprobeError
from kdprobe.evaluation.arms import Arm
from kdprobe.evaluation.scoring import Judged, judge
from kdprobe.problems.extractors import Extractor


def judge_arms(
    arms: Sequence[Arm], extractors: Mapping[str, Extractor], chosen: str
) -> dict[str, dict[str, list[Judged]]]:
    """Extractor to arm to what was found in its answers.

    Args:
        arms: With names that differ.
        extractors: By name, the chosen one among them.
        chosen: The extractor that decides.

    Raises:
        KdprobeError: The chosen extractor fails; any other one that does is left out with a note.
    """
    judged = {}
    for name, extractor in extractors.items():
        try:
            judged[name] = {arm.name: judge(arm.outputs, extractor) for arm in arms}
        except Exception as error:
            fault = f"The extractor {name!r} fails at reading an answer: {type(error).__name__}: {error}."
            if name == chosen:
                raise KdprobeError(fault, "This is a fault of its plugin; choose another extractor.") from error
            note(f"Left out: {fault}")
    return judged
