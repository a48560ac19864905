"""The contract of `kdprobe_engines`: what `check_engine` accepts, and what it says of each fault."""

from dataclasses import replace
from types import ModuleType

import pytest

from kdprobe import EngineSpec, hookimpl
from kdprobe.host.candidates import builtin_candidates
from kdprobe.host.discovery import discover
from kdprobe.host.registry import Host
from kdprobe.testing import ContractError, check_engine, host_with, write_random_adapter


@pytest.fixture(scope="module")
def adapters(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return [write_random_adapter(tiny_model, folder / name, seed=seed) for seed, name in enumerate("ab")]


def test_the_built_in_engine(torch, tiny_model, adapters):
    host = Host(discover(builtin_candidates()))
    assert host.names("engines") == ["transformers"]
    check_engine(host, "transformers", model=tiny_model, adapters=adapters)


def faulty(**changed):
    """A host with an engine that is the built-in one, except for some methods of its students."""
    from kdprobe.evaluation.engines.builtin import TransformersEngine, TransformersStudent

    class Student(TransformersStudent):
        pass

    class Engine(TransformersEngine):
        def load(self, student, *, dtype, bases):
            if changed.get("ignores_adapters"):
                student = replace(student, adapter=None)
            return Student(bases.student(student.base, student.adapter, dtype=dtype))

    for name, method in changed.items():
        if callable(method):
            setattr(Student, name, method)
    module = ModuleType("someones_plugin")
    module.kdprobe_engines = hookimpl(lambda: [EngineSpec(name="it", summary="It", build=lambda _: Engine())])
    return host_with(module)


def changed_decoding(change):
    from kdprobe.evaluation.engines.builtin import TransformersStudent

    real = TransformersStudent.decode

    def decode(self, prompts, decoding, on_tokens):
        return change(real, self, prompts, decoding, on_tokens)

    return decode


def unfinished(real, student, *rest):
    return [replace(answer, finished=False) for answer in real(student, *rest)]


def shifted(real, student, prompts, *rest):
    return real(student, [prompt[1:] for prompt in prompts], *rest)


def endless(real, student, prompts, decoding, on_tokens):
    return real(student, prompts, replace(decoding, end_ids=frozenset()), on_tokens)


def long(real, student, prompts, decoding, on_tokens):
    return real(student, prompts, replace(decoding, max_new_tokens=decoding.max_new_tokens + 1), on_tokens)


def unseeded(real, student, prompts, decoding, on_tokens):
    return real(student, prompts, replace(decoding, seed=0), on_tokens)


def shared(real, student, prompts, decoding, on_tokens):
    return real(student, prompts, replace(decoding, draws_by_row=False), on_tokens)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (unfinished, "finished is False, but judging by the answer's last token it should be True"),
        (shifted, "reads a different prompt"),
        (endless, "continues after a token that ends the answer"),
        (long, "writes 13 tokens; the budget is 12"),
        (unseeded, "sampling with another seed gives the same answers"),
        (shared, "with draws_by_row, sampled answers depend on the other prompts"),
        (lambda real, student, *rest: real(student, *rest)[1:], "answers 3 of 4 prompts"),
    ],
)
def test_answers_that_are_wrong(change, sentence, torch, tiny_model):
    with pytest.raises(ContractError, match=sentence):
        check_engine(faulty(decode=changed_decoding(change)), "it", model=tiny_model, adapters=[])


def test_adapters_that_are_ignored(torch, tiny_model, adapters):
    """As lm-eval's vLLM class once ignored LoRA."""
    host = faulty(ignores_adapters=True)
    with pytest.raises(ContractError, match=r"with a writes a token whose .* below that of .*runs a different student"):
        check_engine(host, "it", model=tiny_model, adapters=adapters)


def test_scores_that_are_wrong(torch, tiny_model):
    from kdprobe.evaluation.engines.builtin import TransformersStudent

    real = TransformersStudent.score

    def off(self, passages):
        return [replace(one, log_p=[value + 0.01 for value in one.log_p]) for one in real(self, passages)]

    with pytest.raises(ContractError, match=r"that is 0\.0100 nats away from that of transformers"):
        check_engine(faulty(score=off), "it", model=tiny_model, adapters=[])

    def short(self, passages):
        return [replace(one, log_p=one.log_p[1:]) for one in real(self, passages)]

    with pytest.raises(ContractError, match=r"scores \d+ of \d+ tokens of a passage"):
        check_engine(faulty(score=short), "it", model=tiny_model, adapters=[])
