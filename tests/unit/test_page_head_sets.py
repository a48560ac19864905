"""Heads ablated together on a page: the numbers of the analysis's own random control."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kdprobe.probing.interventions.random_control import random_control
from kdprobe.probing.interventions.sweep import Sweep
from kdprobe.probing.interventions.tables import effect_table, set_table
from kdprobe.probing.selection import select_heads
from kdprobe.report.payload.heads import head_measures
from kdprobe.stats.p_values import p_text

PROBLEMS, LAYERS, HEADS = 5, 2, 3
READ = [SimpleNamespace(id=str(index)) for index in range(PROBLEMS)]
"""Sequences of which only the id matters."""


@pytest.fixture
def sweep():
    draw = np.random.default_rng(0)
    sets = {"top": [(0, 0), (1, 2)], "every": [], "moved": [(1, 1), (0, 2)]}
    together = {
        "top": np.full((PROBLEMS, 2), -9.0),
        "moved": np.full((PROBLEMS, 2), -1.0),
        "every": np.zeros((PROBLEMS, 2)),
    }
    random = dict.fromkeys(("top", "moved"), draw.normal(-1, 1, (PROBLEMS, 19, 2)))
    heads = [(0, 0), (1, 2), (1, 1), (0, 2)]
    screened = draw.normal(size=(PROBLEMS, LAYERS, HEADS, 2))
    selection = select_heads(screened[..., 0], together=2, exact=4, folds=5, seed=0)
    # The top heads are not measured on the first fold, so their random sets are not, either.
    together["top"][selection.folds == 0] = np.nan
    return Sweep(screened, heads, draw.normal(size=(PROBLEMS, 4, 2)), sets, together, random, selection)


def test_sets_have_the_p_of_the_analysis(sweep):
    tables = {"ablation": effect_table("student", sweep, READ, 0), "ablation_sets": set_table("student", sweep, 0)}
    solution, value = head_measures(tables)
    for found, kind in ((solution["top"], "top"), (solution["diverged"], "moved")):
        control = random_control(sweep, kind, -1, 0)
        assert found["student"]["p"] == p_text(control.p)
        assert found["student"]["value"] == control.effect
        assert found["student"]["stands_out"] is control.stands_out
        assert (found["student"]["heads"], found["student"]["random"]) == (2, 19)
    assert (solution["top"]["student"]["stands_out"], solution["top"]["student"]["p"]) == (True, "0.050")
    assert not solution["diverged"]["student"]["stands_out"]
    assert value["metric"] == "log_p_gold_value"
    random = sweep.random["moved"][..., 1].mean(axis=0)
    assert value["diverged"]["student"]["as_large"] == (random <= -1.0).sum()


def test_without_random_sets_nothing_is_compared(sweep):
    table = set_table("student", sweep, 0)
    tables = {"ablation": effect_table("student", sweep, READ, 0)}
    for sets in (
        {},
        {"ablation_sets": table[table["set"] != "random"]},
        {"ablation_sets": table.drop(columns="value")},
    ):
        measure = head_measures(tables | sets)[0]
        assert (measure["top"], measure["diverged"]) == ({}, {})


def test_a_file_of_sets_is_read_once(sweep, tmp_path, monkeypatch):
    tables = {"ablation": effect_table("student", sweep, READ, 0), "ablation_sets": tmp_path / "sets.parquet"}
    set_table("student", sweep, 0).to_parquet(tables["ablation_sets"])
    read = []
    reading = pd.read_parquet
    monkeypatch.setattr(pd, "read_parquet", lambda file, **options: read.append(file) or reading(file, **options))
    measures = head_measures(tables)
    assert [len(measure["top"]) for measure in measures] == [1, 1]
    assert read == [tables["ablation_sets"]]
