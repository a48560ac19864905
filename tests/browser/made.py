"""A synthetic run with an example of everything that a page shows."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.compare import compare
from kdprobe.comparison.finding import Finding
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.integrity.checks import Checks
from kdprobe.experiment.integrity.manifest import seal
from kdprobe.experiment.results import AnalysisResults, Results
from kdprobe.problems.extractors import Robust
from kdprobe.report.compare_page import write_compare_page
from kdprobe.report.page import render
from kdprobe.teachers.teacher import Response
from kdprobe.transfer.transfer_set import TransferSet, write

HOSTILE = (
    "</script><img src=x onerror=document.title='broken'><b>bold</b> \u202egnp \x1b[31mred \u05e9\u05dc\u05d5\u05dd"
)
VALUELESS, CUT = 3, 5
"""The problems at which every answer has no value, and was cut off."""
LAYERS, HEADS = 4, 3
TAUGHT = 12
"""The number of problems that the teacher answered."""
EXACT = (2, 1)
"""The layer and the head whose effect was computed exactly."""


def made_run(problems=60, students=(("unprimed", 20), ("steps", 45)), folder=None):
    """The page of a run whose arms solve as many problems as told, beginning with the first; the teacher's answers are
    written to the folder.
    """
    arms = [_arm("untrained", problems, 6, None, None), _arm("fine-tuned", problems, 30, None, "fine-tune")]
    arms += [_arm(name, problems, right, name, "logits") for name, right in students]
    compared = compare(arms, {"robust": Robust()})
    compared.findings.append(Finding("cut-off", f"Answers were cut off. {HOSTILE}", "Raise the token budget."))
    rows = [
        {"id": f"test-{n}", "question": _question(n), "solution": f"{n} + 1 = 7", "value": "7", "group": f"g{n % 3}"}
        for n in range(problems)
    ]
    taught = [{**row, "id": f"train-{n}", "question": f"Lesson {n}: how many pears?"} for n, row in enumerate(rows)]
    message = {"role": "user", "content": "How many?"}
    record = {
        "problems": {"test": rows, "transfer": taught[:TAUGHT]},
        "conversations": {
            "unprimed": {"teacher": [message], "student": [message]},
            "steps": {"teacher": [{**message, "content": "Think in steps. How many?"}], "student": [message]},
        },
        "student": {"name": "tiny"},
        "finished": "2026-02-03T04:05:06+00:00",
        "plugins": {},
        "environment": {},
        "config": {"name": "made", "teacher": {"name": "t", "options": {"model": "big"}}, "problems": {"source": "p"}},
        "seconds": {"transfer unprimed": 1.5},
        "adapters": {"logits": "q_proj"},
    }
    held = [_results(arm, folder) for arm in arms]
    results = Results("made-1234", Path(), record, held, [_analysis(arms)], Checks())
    return render(results, compared, arms)


def made_alone(file, problems=60, right=20):
    """Writes the page of a single model."""
    arm = _arm("alone", problems, right, None, None)
    return write_compare_page(file, [arm], compare([arm], {"robust": Robust()}), Robust())


def _question(n):
    return HOSTILE if n == 0 else f"Problem {n}: how many apples?"


def _arm(name, problems, right, strategy, distiller):
    def answer(n):
        if n == VALUELESS:
            return f"{name} does not know."
        value = 7 if n < right else 8
        return HOSTILE + f" {value}" if n == 0 else f"{name} thinks of apple {n}; the answer is {value}."

    outputs = Outputs(
        file=name,
        responses=list(map(answer, range(problems))),
        gold=["7"] * problems,
        ids=[f"test-{n}" for n in range(problems)],
        questions=list(map(_question, range(problems))),
        groups=[f"g{n % 3}" for n in range(problems)],
        cut_off=[n == CUT for n in range(problems)],
        tokens=[10] * problems,
        log_p_gold_value=[-float((n * 7) % problems) / 10 for n in range(problems)],
    )
    return Arm(name, outputs, strategy, distiller, unprimed=name == "unprimed")


def _transfer(strategy, folder):
    """Under `steps`, the teacher is right, and writes hostile text; unprimed, it is wrong."""
    if strategy is None or folder is None:
        return None
    text = f"{HOSTILE} The answer is 7." if strategy == "steps" else "8"
    responses = [Response(f"train-{n}", text, np.arange(5), finished=True) for n in range(TAUGHT)]
    (folder / strategy).mkdir()
    write(TransferSet(tuple(responses), {"vocabulary": 9, "tokenizer": ""}), folder / strategy)
    seal(folder / strategy, {"kind": folder.name, "key": strategy})
    return folder / strategy


def _results(arm, folder):
    empty = {field.name: None for field in dataclasses.fields(ArmResults)}
    history = [{"step": step, "loss": 2.0 - step / 10} for step in range(6)]
    trained = {"training": {"history": history}} if arm.distiller else {}
    return ArmResults(
        **{
            **empty,
            "name": arm.name,
            "strategy": arm.strategy,
            "seed": 0,
            "records": [],
            **trained,
            "transfer": _transfer(arm.strategy, folder),
        }
    )


def _analysis(arms):
    layer, head = (index.ravel() for index in np.indices((LAYERS, HEADS)))
    shared = {"layer": layer, "head": head, "problem": "pooled"}
    value = np.linspace(0, 2, LAYERS * HEADS)
    entropy = pd.concat(
        [
            pd.DataFrame({"student": arm.name, **shared, "metric": "entropy", "value": value + index / 10})
            for index, arm in enumerate(arms)
        ]
    ).assign(low=lambda table: table["value"] - 0.1, high=lambda table: table["value"] + 0.1)
    # The largest estimate is that of the last head, and larger than any exact effect.
    solution = pd.DataFrame({"student": "steps", **shared, "metric": "log_p_gold_solution", "value": value * 8 - 1.2})
    screened = pd.concat([solution, solution.assign(metric="log_p_gold_value", value=value)])
    screened = screened.assign(low=-3.0, high=30.0, method="gradient")
    chosen = (screened["layer"] == EXACT[0]) & (screened["head"] == EXACT[1])
    exact = screened[chosen].assign(value=[-9.4, 0.2], low=[-12.0, -0.1], high=[-7.0, 0.5], method="exact")
    tables = {"heads": entropy, "ablation": pd.concat([screened, exact], ignore_index=True), "ablation_sets": _sets()}
    tables |= _attention([arm.name for arm in arms])
    lines = [
        {"type": "scatter", "mode": "lines", "name": arm.name, "x": [0, 1, 2], "y": [index, index + 1, index]}
        for index, arm in enumerate(arms)
    ]
    figure = {"title": "A plugin's figure", "caption": "What it shows.", "plotly": {"data": lines, "layout": {}}}
    return AnalysisResults("mine", [figure], ["A statement."], tables)


def _sets():
    """The top head costs more than each of 19 random ones."""
    rows = [("top", "", 0, -9.4), *(("random", "top", n + 1, n / 10 - 2) for n in range(19))]
    table = pd.DataFrame(rows, columns=["set", "compared_with", "number", "value"])
    return table.assign(student="steps", heads=1, metric="log_p_gold_solution", problem="pooled")


def _attention(names):
    """On three tokens: every head of every student looks at the token itself, and a little at the first one."""
    tokens = pd.DataFrame({"problem": "test-1", "position": range(3), "token": ["How", " many", "?\n"]})
    rows = [
        {"student": name, "layer": layer, "head": head, "query": query, "key_1": query, "weight_1": 0.7}
        | {"key_2": 0 if query else -1, "weight_2": 0.25 if query else 0.0, "rest": 0.05}
        for name in names
        for layer in range(LAYERS)
        for head in range(HEADS)
        for query in range(3)
    ]
    strongest = pd.DataFrame(rows).assign(key_3=-1, weight_3=0.0, key_4=-1, weight_4=0.0)
    return {"strongest_keys": strongest, "tokens": tokens}
