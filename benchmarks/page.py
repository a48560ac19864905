"""How large a run's page is, and how soon it can be used, in a real Chromium.

    python benchmarks/page.py STORE/runs/RUN/report.html [--rounds 7] [--json FILE]

Pages are opened in turn: the given one (the embedded experiment's, written by `kdprobe run`), a synthetic one with
1,319 problems and 20 students, and a blank one that loads the plotly bundle that the pages contain. A page is ready
when everything but its plotly figures is drawn; the blank one, when plotly is loaded. Results are medians over rounds.
Exits with 1 if a page is too large or too slow: for the given page, more than 2.5 MB or three times as slow as the
blank one; for the large page, more than 25 MB, or 3 s including the first search.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from playwright.sync_api import Browser, sync_playwright
from result_file import write_result

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.compare import compare
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.results import AnalysisResults, Results
from kdprobe.problems.extractors import Robust
from kdprobe.report.page import render
from kdprobe.report.templates import asset

PROBLEMS, STUDENTS = 1319, 20
WORDS_PER_ANSWER = 80
LAYERS, HEADS, METRICS = 30, 9, 14
SIZES = {"given": 2.5e6, "large": 25e6}
"""The largest sizes, in bytes."""
CHROMIUM = os.environ.get("KDPROBE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
READY_AT = """new MutationObserver((_, watcher) => {
    if (document.documentElement?.dataset.ready) { window.readyAt ??= performance.now(); watcher.disconnect(); }
}).observe(document, { attributes: true, childList: true, subtree: true });"""
SEARCH = """() => new Promise((resolve) => {
    const box = document.querySelector("[data-part=answers] input[type=search]");
    const shown = document.querySelector("[data-part=answers] [role=status]");
    const started = performance.now();
    const watched = { childList: true, subtree: true, characterData: true };
    new MutationObserver(() => resolve(performance.now() - started)).observe(shown, watched);
    box.value = "problem 77";
    box.dispatchEvent(new Event("input", { bubbles: true }));
})"""


def main() -> None:
    """Prints the table, and fails if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("There is no Chromium: install Debian's package `chromium`, or name one in KDPROBE_CHROMIUM.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        pages = {
            "blank": Path(folder, "blank.html"),
            "given": given.page.resolve(),
            "large": Path(folder, "large.html"),
        }
        pages["blank"].write_text(blank_page(), encoding="utf-8")
        pages["large"].write_text(large_page(), encoding="utf-8")
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu"])
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in pages}
        for _ in range(given.rounds + 1):
            for name, file in pages.items():
                seen[name].append(opened(browser, file, search=name == "large"))
        browser.close()
        sizes = {name: file.stat().st_size for name, file in pages.items()}
    # The first round reads from a cold disk.
    table = {
        name: {"bytes": sizes[name], **{key: statistics.median(row[key] for row in rows[1:]) for key in rows[0]}}
        for name, rows in seen.items()
    }
    blank = table["blank"]["ready"]
    print("| page | MB | ready, ms | of the blank page | first search, ms |\n| --- | --- | --- | --- | --- |")
    for name, row in table.items():
        search = f"{row['search']:.0f}" if "search" in row else ""
        print(f"| {name} | {row['bytes'] / 1e6:.2f} | {row['ready']:.0f} | {row['ready'] / blank:.2f} | {search} |")
    if given.json:
        write_result(given.json, {"rounds": given.rounds, "pages": table})
    faults = [f"The {name} page is too large." for name, limit in SIZES.items() if sizes[name] > limit]
    if table["given"]["ready"] > 3 * blank:
        faults.append("The given page takes more than three times as long as the blank one.")
    if table["large"]["ready"] + table["large"]["search"] > 3000:
        faults.append("The large page cannot be used within 3 s.")
    if faults:
        sys.exit(" ".join(faults))


def opened(browser: Browser, file: Path, *, search: bool) -> dict[str, float]:
    """Milliseconds from the start of navigation until a page is ready, and those of its first search."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.add_init_script(READY_AT)
    page.goto(file.as_uri())
    page.locator("html[data-ready]").wait_for(state="attached")
    times = {"ready": float(page.evaluate("readyAt"))}
    if search:
        times["search"] = float(page.evaluate(SEARCH))
    context.close()
    return times


def blank_page() -> str:
    """Nothing but plotly's bundle, loaded."""
    loaded = "document.documentElement.dataset.ready = String(typeof Plotly.react === 'function');"
    return f"<!doctype html><title>blank</title><script>{asset('plotly.js')}</script><script>{loaded}</script>"


def large_page() -> str:
    """A run of 1,319 problems and 20 students, with answers and heads of realistic length and number."""
    random = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(random.choice(letters, random.integers(2, 10))) for _ in range(3000)]

    def text(count: int) -> str:
        # Some words are frequent, as in natural language.
        return " ".join(words[index % len(words)] for index in random.zipf(1.3, count))

    ids = [f"test-{index}" for index in range(PROBLEMS)]
    questions = [f"Problem {index}: {text(45)}?" for index in range(PROBLEMS)]
    values = [str(value) for value in random.integers(1, 1000, PROBLEMS)]
    arms = [_arm(index, random, text, ids=ids, questions=questions, values=values) for index in range(STUDENTS)]
    names = [arm.name for arm in arms]
    rows = [
        {"id": id_, "question": question, "solution": text(50), "value": value, "group": None}
        for id_, question, value in zip(ids, questions, values, strict=True)
    ]
    record = {
        "problems": {"test": rows, "transfer": rows},
        "conversations": {},
        "student": {"name": "student"},
        "config": {"name": "large"},
        "seconds": {},
        "environment": {},
        "plugins": {},
    }
    empty = {field.name: None for field in dataclasses.fields(ArmResults)}
    held = [ArmResults(**{**empty, "name": arm.name, "strategy": arm.strategy, "seed": 0}) for arm in arms]
    analysis = AnalysisResults("heads", [], [], {"heads": _heads(names, random)})
    results = Results("large", Path(), record, held, [analysis])
    return render(results, compare(arms, {"robust": Robust()}), arms)


def _arm(index: int, random: Any, text: Any, *, ids: list[str], questions: list[str], values: list[str]) -> Arm:
    name = f"strategy-{index}" if index else "unprimed"
    right = random.random(len(ids)) < 0.2 + index / 50
    answers = [
        f"{text(WORDS_PER_ANSWER)} {value if solved else 1001}" for value, solved in zip(values, right, strict=True)
    ]
    outputs = Outputs(
        file=name,
        responses=answers,
        gold=values,
        ids=ids,
        questions=questions,
        cut_off=[False] * len(ids),
        tokens=random.integers(60, 200, len(ids)).tolist(),
        log_p_gold_value=(-random.exponential(2, len(ids))).tolist(),
    )
    return Arm(name, outputs, name, "logits", unprimed=index == 0)


def _heads(names: list[str], random: Any) -> pd.DataFrame:
    layer, head = (index.ravel() for index in np.indices((LAYERS, HEADS)))
    frames = []
    for name in names:
        for metric in range(METRICS):
            value = random.random(LAYERS * HEADS)
            shared = {"student": name, "metric": f"metric-{metric}", "layer": layer, "head": head, "problem": "pooled"}
            frames.append(pd.DataFrame({**shared, "value": value, "low": value - 0.01, "high": value + 0.01}))
    return pd.concat(frames, ignore_index=True)


if __name__ == "__main__":
    main()
