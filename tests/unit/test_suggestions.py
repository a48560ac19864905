"""Suggestions for keys, commands and aliases that do not exist."""

import pytest
from pydantic import BaseModel

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.host.suggestions import keys_of, suggested, suggested_keys


class Leaf(BaseModel):
    rank: int = 8


class Branch(BaseModel):
    leaf: Leaf = Leaf()
    leaves: list[Leaf] | None = None
    parent: "Branch | None" = None


def test_keys_are_those_of_nested_models_too():
    assert list(keys_of(Branch)) == ["leaf", "leaf.rank", "leaves", "leaves.rank", "parent"]
    assert list(keys_of(None)) == []


KNOWN = ["name", "teacher", "teacher.options", "teacher.options.model", "student.model", "student.dtype", "probe.seed"]


@pytest.mark.parametrize(
    ("key", "suggestions"),
    [
        ("nam", ["name"]),
        ("teacher.option", ["teacher.options"]),
        ("teacher.model", ["teacher.options.model"]),
        ("teacher.options.dtype", ["student.dtype"]),
        ("model", ["teacher.options.model", "student.model"]),
        ("probe.modle", ["teacher.options.model", "student.model"]),
        ("student.options.modle", ["student.model"]),
        ("unlike.anything", []),
    ],
)
def test_the_nearest_keys_are_suggested(key, suggestions):
    assert suggested_keys(key, KNOWN) == suggestions


def test_mistyped_commands_and_plugins_get_a_suggestion(capsys):
    from kdprobe.cli import _run

    for words, message in (
        (["rum"], "No such command 'rum'. Did you mean 'run'?"),
        (["evaluate", "x"], "No such command 'evaluate'. Did you mean 'eval'?"),
        (["xyzzy"], "No such command 'xyzzy'.\n"),
        (["plugins", "builtin:distil"], "Did you mean 'builtin:distill'?"),
        (["plugins", "nwe"], "Did you mean 'new'?"),
    ):
        assert _run(words) == 2
        assert message in capsys.readouterr().err


def test_mistyped_aliases_get_a_suggestion(monkeypatch, tmp_path):
    from kdprobe.models.adapters import resolve_adapter
    from kdprobe.models.reference import resolve

    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("smollm2-135m-instrct", "smollm2-135m/../instruct"):
        with pytest.raises(KdprobeError, match=r"Did you mean 'smollm2-135m-instruct'\?"):
            resolve(name)
    with pytest.raises(UsageError, match=r"ships no adapter .* Did you mean 'kdprobe:embedded-teacher'\?"):
        resolve_adapter("kdprobe:embeded-teacher")
    assert suggested("quite-another-model", ["smollm2-135m-instruct"]) == ""
