"""What the page of a run says where there are too few values for an interval."""

import dataclasses
import re
from pathlib import Path

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.compare import compare
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.results import Results
from kdprobe.problems.extractors import Robust
from kdprobe.report.page import render


def page(count):
    """The page of a run of two students that answered so many problems."""
    outputs = Outputs(
        file="run/none",
        responses=["2 + 5 = 7"] * count,
        gold=["7"] * count,
        ids=[str(n) for n in range(count)],
        log_p_gold_value=[-1.0 - n / 10 for n in range(count)],
    )
    other = dataclasses.replace(outputs, responses=["2 + 5 = 8"] * count, log_p_gold_value=[-2.0] * count)
    arms = [Arm("none", outputs, "none", "logits", unprimed=True), Arm("primed", other, "teacher", "logits")]
    empty = {field.name: None for field in dataclasses.fields(ArmResults)}
    records = [{"correct": True, "response": "7", "value": "7", "rule": "boxed", "cut_off": None, "tokens": 1}] * count
    held = [
        ArmResults(**{**empty, "name": arm.name, "strategy": arm.strategy, "records": records, "file": Path("x")})
        for arm in arms
    ]
    problems = [{"id": str(n), "question": "q", "solution": "s", "value": "7", "group": None} for n in range(count)]
    provenance = {key: {} for key in ("student", "plugins", "environment", "config", "seconds")}
    record = {"problems": {"test": problems}, "conversations": {}, **provenance}
    results = Results("run", Path(), record, held, [])
    text = re.sub(r"<(script|style).*?</\1>", "", render(results, compare(arms, {"robust": Robust()})), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_a_single_problem_has_too_few_values_for_intervals():
    text = page(1)
    assert "-1.00 ( too few )" in text.replace("(too few)", "( too few )")
    assert "100.0% too few" in text
    assert "-100.0 points (too few)" in text
    assert re.search(r"\bnan\b", text) is None


def test_several_problems_have_intervals():
    text = page(12)
    assert "too few" not in text
    assert re.search(r"12 of 12 100\.0% 75\.8 to 100\.0%", text)
