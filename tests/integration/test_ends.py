"""A student stops at every end token that it was trained with."""

import json
import shutil
from dataclasses import replace

import pytest

from kdprobe.experiment.store import Store
from kdprobe.files import read_json

CONFIG = """
name = "base"
strategies = ["teacher"]
[problems]
source = "jsonl"
options = {{ transfer = "{transfer}", test = "{test}" }}
transfer = 4
test = 2
[student]
model = "{student}"
[teacher.options]
model = "{teacher}"
[transfer]
texts = "gold"
top_logprobs = 16
[distill]
name = "sequence"
options = {{ epochs = 90, batch_size = 4, learning_rate = 3e-2, lora = {{ rank = 16 }} }}
[controls]
untrained = false
fine_tuned = false
[evaluation]
max_new_tokens = 100
[probe]
analyses = []
"""


@pytest.fixture(scope="module")
def base_model(torch, tiny_model, tmp_path_factory):
    """The tiny model as a base model: no chat template, and another token at the end of texts."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("base") / "base")
    (folder / "chat_template.jinja").unlink()
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"eos_token": "<pad>"}))
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(settings | {"eos_token_id": settings["pad_token_id"]}))
    return folder


def test_a_base_student_learns_the_end_of_its_instruct_teacher_and_stops_there(
    torch, base_model, tiny_model, problem_files, tmp_path
):
    import pandas as pd

    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.run import run
    from kdprobe.host.registry import Host
    from kdprobe.models.load import load_tokenizer
    from kdprobe.models.merging.files import read_ends
    from kdprobe.models.reference import resolve
    from kdprobe.models.shared_bases import SharedBases

    config = tmp_path / "base.toml"
    transfer, test = problem_files
    config.write_text(CONFIG.format(transfer=transfer, test=test, student=base_model, teacher=tiny_model))
    host, store = Host(), Store(tmp_path / "store")
    plan = make_plan(load_experiment(config, host), host)
    run(plan, store)
    (arm,) = plan.arms
    folder = store.folder(arm.distill)
    teachers, own = (load_tokenizer(resolve(str(model))).eos_token_id for model in (tiny_model, base_model))
    assert teachers != own
    training = read_json(folder / "training.json")
    assert training["end_ids"] == [teachers]
    assert training["responses_without_end"] == 0
    assert read_ends(folder / "adapter") == {teachers}
    student = SharedBases().student(arm.student.base, folder / "adapter")
    assert {teachers, own} <= student.eos_ids
    assert {teachers, own} <= set(student.model.generation_config.eos_token_id)
    records = pd.read_parquet(store.folder(arm.evaluate) / "records.parquet")
    # It was trained until it writes solutions, which end where the teacher's do.
    assert not records.cut_off.all()
    assert not records.response.str.contains("im_end").any()


@pytest.fixture
def with_ends(tiny_model, tmp_path):
    """Writes the tiny model with further ends and a repetition penalty in its generation_config.json."""

    def make(*ends):
        folder = shutil.copytree(tiny_model, tmp_path / "-".join(map(str, ends)))
        file = folder / "generation_config.json"
        settings = json.loads(file.read_text())
        every = [settings["eos_token_id"], *ends]
        file.write_text(json.dumps(settings | {"eos_token_id": every, "repetition_penalty": 30.0}))
        return folder

    return make


def test_setting_a_models_own_settings_aside_keeps_its_ends(torch, with_ends):
    from kdprobe.models.forward.decoding import without_own_settings
    from kdprobe.models.load import load
    from kdprobe.models.reference import resolve

    loaded = load(resolve(str(with_ends(5, 9))))
    own = loaded.model.generation_config
    ends = {5, 9, loaded.tokenizer.eos_token_id}
    with without_own_settings(loaded):
        assert loaded.model.generation_config.repetition_penalty != own.repetition_penalty
        # Also the ends of a view of this model that is made only now.
        assert loaded.eos_ids == replace(loaded).eos_ids == ends
    assert loaded.model.generation_config is own
    with pytest.raises(RuntimeError, match="decoding failed"), without_own_settings(loaded):
        raise RuntimeError("decoding failed")
    assert loaded.model.generation_config is own


def test_a_teacher_stops_at_its_models_ends_and_ignores_its_penalties(torch, tiny_model, with_ends):
    from kdprobe.teachers.teacher import Request, Sampling
    from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher

    def answer(folder):
        request = Request("p", [{"role": "user", "content": "What is 3 + 4?"}])
        teacher = TransformersTeacher(TransformersOptions(model=str(folder), dtype="float32"))
        (response,) = teacher.respond([request], Sampling(max_new_tokens=6, top_logprobs=4))
        return response.token_ids.tolist(), response.finished

    plain, finished = answer(tiny_model)
    assert not finished
    assert answer(with_ends(plain[3])) == (plain[: plain.index(plain[3]) + 1], True)
