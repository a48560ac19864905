"""A whole run for every family and kind of teacher: what was read, what was captured, and where answers end."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from families import FAMILIES, KINDS

DATE = "26 Jul 2024"
CELLS = [(name, kind) for name in FAMILIES for kind in KINDS]
ROUNDING = 1 / 512 + 1e-4
"""Log-probabilities are kept in steps of 1/256 nat."""


@cache
def loaded(folder):
    """A tokenizer as transformers loads it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@cache
def as_it_is(folder):
    """A tokenizer as defined by its file: a function from text to ids."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def ids_of(tokenizer, messages, arguments):
    """From transformers' own `apply_chat_template`; models without a template read the plain form."""
    if not tokenizer.chat_template:
        return tokenizer(f"Question: {messages[0]['content']}\nAnswer:")["input_ids"]
    told = {"date_string": DATE, **arguments}
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False, **told)


@cache
def strategy(name):
    """What a strategy sends to the teacher."""
    from kdprobe.host.registry import Host
    from kdprobe.problems.problem import Problem

    make = Host().create("strategies", name, {})
    return lambda problem: make(Problem(**problem)).teacher


@pytest.fixture(params=CELLS, ids="-".join, scope="module")
def finished(request, cell):
    name, kind = request.param
    # A server has a clock of its own: the date is an argument of Llama's template, too.
    arguments = {"date_string": DATE} if (name, kind) == ("llama3_1", "served") else None
    return cell(name, kind, arguments)


def prompts(folder):
    return {row.id: row.token_ids.tolist() for row in pd.read_parquet(folder / "prompts.parquet").itertuples()}


@pytest.mark.parametrize("reader", ["teacher", "student"])
def test_prompts_are_those_of_apply_chat_template_with_one_first_token(finished, reader):
    """The teacher's prompts for every strategy, as rendered or as its server reports; the student's as in training."""
    name = finished.teacher if reader == "teacher" else finished.family
    family, folder = FAMILIES[name], finished.folders[name]
    tokenizer = loaded(folder)
    for arm, primed in (("unprimed", "none"), ("teacher", "teacher")):
        read = prompts(finished.stage("transfer" if reader == "teacher" else "distill", arm))
        messages_of = strategy(primed if reader == "teacher" else "none")
        for problem in finished.record["problems"]["transfer"]:
            found = read[problem["id"]]
            assert found == ids_of(tokenizer, messages_of(problem), family.arguments), tokenizer.decode(found)
            assert found.count(tokenizer.bos_token_id) == family.bos
            # Nothing was lost when transformers loaded the file.
            assert found == as_it_is(folder)(tokenizer.decode(found))


def test_captured_log_probabilities_are_those_of_a_teacher_forced_pass(finished, torch):
    from transformers import AutoModelForCausalLM

    from kdprobe.transfer.transfer_set import read

    model = AutoModelForCausalLM.from_pretrained(finished.folders[finished.teacher], dtype=torch.float32).eval()
    for arm in ("unprimed", "teacher"):
        transfer = read(finished.stage("transfer", arm))
        read_before = prompts(finished.stage("transfer", arm))
        for response in transfer.responses:
            prompt, written = read_before[response.id], response.token_ids.tolist()
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([[*prompt, *written]]), use_cache=False).logits[0]
            rows = logits[len(prompt) - 1 : -1, : transfer.vocabulary].log_softmax(-1).numpy()
            np.testing.assert_allclose(response.rows.token_logprobs, rows[np.arange(len(written)), written], atol=2e-3)
            expected = np.take_along_axis(rows, response.rows.ids.astype(int), axis=-1)
            np.testing.assert_allclose(response.rows.logprobs, expected, atol=ROUNDING + 2e-3)
            assert (np.sort(rows, axis=-1)[:, -1] - expected[:, 0] < 2e-3).all()


def test_students_are_taught_the_ends_of_the_template(finished, torch):
    """And students stop at them: they are recorded next to the adapter."""
    from kdprobe.models import load_model, merge, resolve

    family, folder = FAMILIES[finished.family], finished.folders[finished.family]
    tokenizer = loaded(folder)
    end = tokenizer.convert_tokens_to_ids(family.end)
    for arm in ("fine-tuned", "teacher"):
        training = json.loads((finished.stage("distill", arm) / "training.json").read_text())
        assert set(training["end_ids"]) <= {end}
        assert training["responses_without_end"] == 0
        assert arm == "teacher" or training["end_ids"] == [end]
    student = merge(load_model(resolve(str(folder))), finished.stage("distill", "fine-tuned") / "adapter")
    assert student.eos_ids >= set(tokenizer.convert_tokens_to_ids(list(family.ends)))


def test_no_finding_speaks_of_prompts_or_ends(finished):
    codes = {finding["code"] for finding in finished.results["findings"]}
    assert not codes & {"prompt-changed", "student-prompt", "server-prompt", "untaught-end", "unequal-prompt"}


def test_running_again_makes_nothing(finished, run_cli, capsys):
    run_cli("run", finished.config, "--store", finished.store, "--json")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert said
    assert all("already done" in line for line in said)
