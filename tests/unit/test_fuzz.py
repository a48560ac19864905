"""Random texts through every extractor; benchmarks/extractors.py times the very same ones."""

import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdprobe.host.registry import Host
from kdprobe.problems import expression_tokens
from kdprobe.problems.arithmetic import arithmetic, arithmetic_steps
from kdprobe.problems.reading import (
    algebra,
    calculations,
    final_value,
    labels,
    marks,
    number_words,
    numbers,
    run_on,
    statements,
)

FILE = Path(__file__).parents[2] / "benchmarks" / "hostile_texts.py"
spec = importlib.util.spec_from_file_location("hostile_texts", FILE)
hostile_texts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hostile_texts)
DATA = os.environ.get("KDPROBE_TEST_DATA")
TEXTS = 100_000 if os.environ.get("KDPROBE_ALL_FAULTS") else 2_000

HOST = Host()
EXTRACTORS = [HOST.create("extractors", name) for name in HOST.names("extractors")]


def read(text):
    for extractor in EXTRACTORS:
        extraction = extractor.extract(text)
        assert isinstance(extractor.is_right(extraction, "18"), bool)
        if extraction.where is not None:
            start, stop = extraction.where
            assert 0 <= start < stop <= len(text)
    for step in arithmetic_steps(text):
        start, stop = step.where
        assert 0 <= start < stop <= len(text)


def test_nothing_raises_on_random_texts():
    source = hostile_texts.real_answers(Path(DATA)) if DATA else hostile_texts.ANSWERS
    count = 0
    for text in hostile_texts.texts(TEXTS, source):
        try:
            read(text)
        except Exception as error:
            error.add_note(f"The text: {text[:2000]!r}")
            raise
        count += 1
    assert count == TEXTS + len(hostile_texts.PIECES)


@given(st.text() | st.lists(st.sampled_from(hostile_texts.WORDS)).map("".join))
@settings(max_examples=1000, deadline=None)
def test_nothing_raises_on_what_hypothesis_finds(text):
    read(text)
    arithmetic(text, cut_off=True)


def patterns(module):
    found = vars(module).items()
    singles = {name: value for name, value in found if isinstance(value, re.Pattern)}
    several = {name: value for name, value in found if isinstance(value, tuple)}
    parts = {f"{name}[{i}]": part for name, value in several.items() for i, part in enumerate(value)}
    return singles | {name: part for name, part in parts.items() if isinstance(part, re.Pattern)}


READERS = (algebra, calculations, final_value, labels, marks, number_words, numbers, run_on, statements)


@pytest.mark.parametrize("module", [*READERS, expression_tokens], ids=lambda module: module.__name__)
def test_every_pattern_matches_a_bounded_stretch(module):
    """Each position of a text costs a bounded number of calls, so a text twice as long costs at most twice as much."""
    found = patterns(module)
    assert found
    for name, pattern in found.items():
        _, longest = re._parser.parse(pattern.pattern, pattern.flags).getwidth()
        assert longest < 1000, name


def calls(text):
    """Python functions called while reading the arithmetic of a text."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(note)
    try:
        arithmetic_steps(text)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("piece", hostile_texts.PIECES)
def test_arithmetic_does_work_in_proportion_to_the_text(piece):
    short, long = (calls(piece * (size // len(piece))) for size in (2_000, 8_000))
    assert long < 4.4 * short + 100
