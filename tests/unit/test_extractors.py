import csv
import gzip
import json
import os
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdprobe.problems.extractors import Published, Robust, flexible, strict

EXTRACTORS = {"robust": Robust(), "published": Published(), "strict": strict(), "flexible": flexible()}
DATA = Path(os.environ.get("KDPROBE_TEST_DATA", "/nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="KDPROBE_TEST_DATA names no folder with the real answers")
PIECES = [
    "18",
    ",",
    "-",
    "$",
    "####",
    " ",
    "\n",
    ".",
    "the final answer is ",
    "\\boxed{",
    "}",
    "1,200.50",
    "A: 3",
    "oxed{7}",
]
PIECES += ["\\frac{3}{4}", "5/0", "the", "answer", "%", "\u2212", "\u0663"]
TEXTS = st.text() | st.lists(st.sampled_from(PIECES)).map("".join)


def paper_rows(name):
    csv.field_size_limit(sys.maxsize)
    with gzip.open(DATA / "paper" / "generations" / f"{name}.csv.gz", "rt", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def lm_eval_says():
    """The results of lm-eval's own filter and metric, as named in its task file."""
    import lm_eval.tasks
    import yaml
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    task = yaml.safe_load((Path(lm_eval.tasks.__file__).parent / "gsm8k" / "gsm8k.yaml").read_text())
    filters = {chain["name"]: chain["filter"][0] for chain in task["filter_list"]}
    options = {key: task["metric_list"][0][key] for key in ("ignore_case", "ignore_punctuation", "regexes_to_ignore")}

    def says(name, text, target):
        settings = {key: value for key, value in filters[name].items() if key != "function"}
        ((taken,),) = RegexFilter(**settings).apply([[text]], [{}])
        return taken, bool(exact_match_hf_evaluate([taken], [target], **options)["exact_match"])

    return says


def agree(name, lm_eval_name, text, target, gold, lm_eval_says):
    ours = EXTRACTORS[name].extract(text)
    taken, right = lm_eval_says(lm_eval_name, text, target)
    assert (ours.written or "[invalid]").strip() == taken
    assert EXTRACTORS[name].is_right(ours, gold) == right


@pytest.mark.parametrize(("name", "theirs"), [("strict", "strict-match"), ("flexible", "flexible-extract")])
@given(text=TEXTS)
@settings(max_examples=300, deadline=None)
def test_lm_evals_rules_are_lm_evals(name, theirs, text, lm_eval_says):
    agree(name, theirs, text, "He has 3 + 4.\n#### 1,200.50", "1,200.50", lm_eval_says)


@needs_data
@pytest.mark.parametrize("arm", ["no_distillation", "none", "ground_truth"])
def test_lm_evals_rules_are_lm_evals_on_every_real_answer(arm, lm_eval_says):
    for row in paper_rows(arm):
        gold = row["answer"].rpartition("####")[2].strip()
        for name, theirs in (("strict", "strict-match"), ("flexible", "flexible-extract")):
            agree(name, theirs, row["model_answer"], row["answer"], gold, lm_eval_says)


@needs_data
@pytest.mark.parametrize(
    ("arm", "published_count", "flexible_count", "robust_count"),
    [("no_distillation", 152, 87, 153), ("none", 387, 218, 488), ("ground_truth", 614, 263, 693)],
)
def test_the_papers_answers_give_the_known_counts(arm, published_count, flexible_count, robust_count):
    rows = paper_rows(arm)

    def count(name):
        extractor = EXTRACTORS[name]
        return sum(
            extractor.is_right(extractor.extract(row["model_answer"]), row["answer"].rpartition("####")[2].strip())
            for row in rows
        )

    assert len(rows) == 1319
    assert (count("published"), count("flexible")) == (published_count, flexible_count)
    assert (count("robust"), count("strict")) == (robust_count, 0)


@needs_data
def test_robust_judges_as_the_authors_of_real_solutions_did():
    from kdprobe.problems.gold import gold_text

    robust = EXTRACTORS["robust"]
    lines = (DATA / "solutions" / "openai_6b.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    judged = [robust.is_right(robust.extract(row["solution"]), gold_text(row["ground_truth"])) for row in rows]
    assert judged == [row["is_correct"] for row in rows]
    assert len(judged) == 2638


@pytest.mark.parametrize(
    ("text", "rule", "value"),
    [
        ("The box says \\boxed{ 1,200 } and 3", "boxed", 1200),
        ("7\nthe answer is 8", "first-line", 7),
        ("7 or 7\nthe answer is 8", "first-line", 7),
        ("7 or 9\nSo the correct answer is about 8.5, not 9", "answer-is", Fraction("8.5")),
        ("7 or 9\nThe answer is none. 3 of 4", "last-number", 4),
        ("7 or 9\nthefinalansweris-8", "answer-is", 8),
        ("Well, then\n3 and 4", "first-line", None),
        ("no numbers", "none", None),
    ],
)
def test_published_rules_fire_in_their_order(text, rule, value):
    extraction = EXTRACTORS["published"].extract(text)
    assert (extraction.rule, extraction.value) == (rule, value)


@pytest.mark.parametrize("name", EXTRACTORS)
@given(text=TEXTS)
@settings(max_examples=1000, deadline=None)
def test_an_extraction_says_where_it_read_and_nothing_raises(name, text):
    extraction = EXTRACTORS[name].extract(text)
    EXTRACTORS[name].is_right(extraction, "18")
    if extraction.where is None:
        assert extraction.value is extraction.written is None
    else:
        start, stop = extraction.where
        assert 0 <= start < stop <= len(text)
        assert text[start:stop] == extraction.written


@pytest.mark.parametrize("name", EXTRACTORS)
@pytest.mark.parametrize(
    "piece", ["9", "{", "}", ",", " ", "the ", "the answer is ", "-", "####", "1/", "\\boxed{", "oxed{9"]
)
def test_a_hundred_kilobytes_of_anything_come_to_an_end(name, piece):
    # Quadratic time would make minutes of each.
    EXTRACTORS[name].extract(piece * (100_000 // len(piece)))
