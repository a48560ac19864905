"""What lm-eval's tasks take: the texts that are read for a document, counted by hand."""

import dataclasses
from types import SimpleNamespace

import pytest

from kdprobe.experiment.costs.devices import TABLE, Devices
from kdprobe.experiment.costs.lengths import TaskLengths, task_lengths
from kdprobe.experiment.costs.piece import Piece
from kdprobe.experiment.costs.rates import Rates
from kdprobe.experiment.costs.runner import Runner
from kdprobe.experiment.costs.stages import CostModel
from kdprobe.models.outline.device import machine
from kdprobe.models.outline.sizes import Sizes

SIZES = Sizes(2, 8, 2, 1, 4, 16, 50, 1400, 400, 400, tied=True, routed=0, experts=0, used_experts=0, linear={})
H100 = Devices(TABLE["h100"])


class Leaf:
    """A task with as many requests for each document as it is given; the context has a word for each example shown."""

    def __init__(self, *requests, shown=0):
        self.requests, self.shown, self.eval_docs = requests, shown, ["one", "two"]

    def get_config(self, name):
        assert name == "num_fewshot"
        return self.shown

    def fewshot_context(self, document, num_fewshot):
        return "shown " * num_fewshot + document

    def construct_requests(self, doc, ctx, metadata):
        assert doc in ctx
        assert len(metadata) == 3
        return [SimpleNamespace(request_type=kind, args=(ctx, *rest)) for kind, *rest in self.requests]


def words(text, add_special_tokens):
    assert not add_special_tokens
    return {"input_ids": [hash(word) for word in text.split()]}


def lengths(*leaves):
    names = [f"leaf{index}" for index in range(len(leaves))]
    documents = {name: [0, 1] for name in names}
    return task_lengths(words, SimpleNamespace(leaves=dict(zip(names, leaves, strict=True)), documents=documents))


def test_choices_of_one_token_share_a_text_and_longer_ones_have_their_own():
    """The context has one word; the last word of a choice is only predicted."""
    assert lengths(Leaf(*[("loglikelihood", f" {end}") for end in "abc"])) == TaskLengths(1, 1, 0, 0, 0, 1)
    assert lengths(Leaf(*[("loglikelihood", f" {end} x") for end in "abc"])) == TaskLengths(3, 6, 0, 0, 0, 2)
    assert lengths(Leaf(("loglikelihood", " a"), shown=4)).read == 5


def test_a_text_of_its_own_is_read_and_an_answer_is_written():
    assert lengths(Leaf(("loglikelihood_rolling",), shown=2)) == TaskLengths(1, 2, 0, 0, 0, 2)
    written = lengths(Leaf(("generate_until", {"max_gen_toks": 30})), Leaf(("generate_until", {}), shown=2))
    assert written == TaskLengths(0, 0, 1, 2, (30 + 256) / 2, 3 + 256)


def test_a_task_that_cannot_be_asked_without_a_model_is_unknown():
    assert lengths(Leaf(("generate_until",))) is None


def model(**changed):
    of = {"likely": TaskLengths(3, 60, 0, 0, 0, 25), "written": TaskLengths(0, 0, 1, 10, 20, 40)}
    return CostModel(SIZES, None, None, 1, 1, served=None, fused=False, budgets=(1, 1), tasks=of, **changed)


def task(name="likely", units=8, batch=4):
    environment = {"device": "cpu", "threads": 1}
    settings = {"task": {"name": name}, "dtype": "float32", "batch_size": batch, "environment": environment}
    return Piece("task", settings, units)


def test_a_task_takes_as_many_texts_as_its_documents_have():
    use, runner = model().use(task(), H100), Runner(SIZES, "float32", H100)
    assert (use.read, use.written, use.disk) == (8 * 60, 0, 8 * 200)
    # 24 texts of 20 tokens in batches of four, with logits at every token.
    assert use.seconds == pytest.approx(runner.load_seconds + runner.reading_seconds(480, 20, 480, 6))
    # lm-eval keeps logits and their log-softmax.
    assert use.memory == pytest.approx(runner.running_memory(4, 25, 0) + 4 * 2 * 25 * 50 * 4)
    written = model().use(task("written"), H100)
    assert (written.read, written.written) == (80, 160)
    assert written.seconds == pytest.approx(runner.load_seconds + runner.writing_seconds(8, 10, 20, 4))
    assert model().use(task("other"), H100) is None


def test_auto_takes_a_batch_that_fits():
    assert model().use(task(batch="auto"), H100).batch == 256
    small = Devices(dataclasses.replace(TABLE["h100"], memory=1.5e9 + 2 * 1400 * 4))
    assert model().use(task(batch="auto"), small).batch < 256


def test_rates_of_a_task_are_its_own():
    made = {"kind": "task", "settings": task().settings, "units": 8, "inputs": [], "resumed": False}
    rates = Rates([{**made, "seconds": 50.0, "machine": machine()}], model(), lambda *_: H100)
    assert rates.of(task(units=99))
    assert rates.of(task("written")) is None
