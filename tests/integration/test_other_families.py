"""Teachers whose tokenizer or output matrix differs from the student's."""

import json
import shutil
import tomllib

import numpy as np
import pytest

from kdprobe.errors import KdprobeError


def padded(tiny_model, folder, rows, added=()):
    """The tiny model with more rows in its matrices than its tokenizer has tokens, and tokens added to that."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.resize_token_embeddings(rows, mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens(list(added))
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def learnt(tiny_config, tiny_model, tmp_path):
    """Makes the transfer set and the student of the strategy `teacher`; returns the folders of both."""

    def make(teacher, distiller, student=tiny_model):
        from kdprobe.experiment.load_config import check
        from kdprobe.experiment.plan import make_plan
        from kdprobe.experiment.store import Store
        from kdprobe.host.registry import Host

        data = tomllib.loads(tiny_config(student).read_text())
        data["teacher"]["options"]["model"] = str(teacher)
        data["distill"]["name"] = distiller
        host = Host()
        plan = make_plan(check(data, host, "mine.toml"), host)
        store = Store(tmp_path / "store")
        store.prepare()
        (arm,) = [arm for arm in plan.arms if arm.strategy == "teacher"]
        for stage in (arm.transfer, arm.distill):
            store.make(stage)
        return store.folder(arm.transfer), store.folder(arm.distill)

    return make


def test_sequence_learns_the_text_of_a_teacher_of_another_family(learnt, stranger, tiny_model, monkeypatch):
    from transformers import AutoTokenizer

    from kdprobe.distill import builtin
    from kdprobe.transfer.transfer_set import read

    seen, train = [], builtin._train

    def watched(student, examples, *rest):
        seen.extend(examples)
        return train(student, examples, *rest)

    monkeypatch.setattr(builtin, "_train", watched)
    transferred, distilled = learnt(stranger, "sequence")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    answers = {response.id: response for response in read(transferred).responses}
    assert len(seen) == len(answers) == 4
    for example in seen:
        answer = answers[example.problem]
        ends = [tokenizer.eos_token_id] if answer.finished else []
        assert example.labels == [*tokenizer(answer.text, add_special_tokens=False)["input_ids"], *ends]
    training = json.loads((distilled / "training.json").read_text())
    assert training["retokenised"] is True
    assert training["alignment"]["own_next_token"] == 1
    assert set(training["end_ids"]) <= {tokenizer.eos_token_id}


def test_another_padding_of_the_same_tokenizer_is_the_same_tokenizer(learnt, tiny_model, tmp_path):
    from transformers import AutoTokenizer

    from kdprobe.transfer.transfer_set import read

    tokens = len(AutoTokenizer.from_pretrained(tiny_model))
    wide = padded(tiny_model, tmp_path / "wide", tokens + 512, added=["<tool>"])
    transferred, distilled = learnt(wide, "logits")
    # Half of the columns stand for no token; none is ever written, or kept among the likeliest.
    responses = read(transferred).responses
    assert max(int(response.token_ids.max()) for response in responses) <= tokens
    assert max(int(response.rows.ids.max()) for response in responses) <= tokens
    for response in responses:
        assert np.isfinite(response.rows.token_logprobs).all()
    training = json.loads((distilled / "training.json").read_text())
    assert training["retokenised"] is False
    assert all(row["loss"] > 0 for row in training["history"])


def test_ids_that_the_student_has_no_row_for_are_refused_before_training(train_context, tiny_model, tmp_path):
    from dataclasses import replace

    from transformers import AutoTokenizer

    from kdprobe.host.registry import Host
    from kdprobe.models.reference import resolve

    context = train_context({"responses"}, (1.0,))
    (first, *others) = context.transfer.responses
    beyond = len(AutoTokenizer.from_pretrained(tiny_model))
    foreign = replace(first, token_ids=np.full_like(first.token_ids, beyond))
    transfer = replace(context.transfer, responses=(foreign, *others))
    with pytest.raises(KdprobeError, match=rf"'{first.id}' contains token id {beyond}"):
        Host().create("distillers", "sequence").train(replace(context, transfer=transfer))
    # Longer than the student's context.
    short = shutil.copytree(tiny_model, tmp_path / "short")
    settings = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 20}))
    with pytest.raises(KdprobeError, match=r"tokens with its answer, but the student's context is 20"):
        Host().create("distillers", "sequence").train(replace(context, student=resolve(str(short))))
