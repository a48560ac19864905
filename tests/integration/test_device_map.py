"""Models spread over several devices, pretended ones and the disk, give the numbers of one device, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest

from architecture_checks import write_adapter
from architectures import attention_projections
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models.devices.placement import Placement
from pretend_devices import FIRST, SECOND, device_of, pretended_gpus

ARCHITECTURES = ("llama", "qwen3", "gemma2", "phi3", "gpt2")
LAYERS = {"gpt2": {"n_layer": 4}}


@pytest.fixture(scope="module")
def model(request, model_of):
    """A model with as many layers as it takes to spread them."""
    return model_of(request.param, **LAYERS.get(request.param, {"num_hidden_layers": 4}))


of_every_kind = pytest.mark.parametrize("model", ARCHITECTURES, indirect=True)
_, *others = ARCHITECTURES
of_one_kind = pytest.mark.parametrize(
    "model", [ARCHITECTURES[0], *(pytest.param(each, marks=pytest.mark.matrix) for each in others)], indirect=True
)


@pytest.fixture
def offloading(model):
    """The placement with which a part of the weights is read from the disk in every pass."""
    from safetensors import safe_open

    with safe_open(model.path / "model.safetensors", "pt") as tensors:
        sizes = {name: tensors.get_tensor(name).nbytes for name in tensors.keys()}  # noqa: SIM118
    return Placement("auto", (("cpu", f"{(sum(sizes.values()) // 2 + max(sizes.values())) / 1000:.3f}KB"),))


def rows_equal(first, second, tolerance=0.0):
    """Offloaded weights are made anew in every pass, and for those torch rounds some products differently."""
    assert np.array_equal(first.ids, second.ids)
    tails = [first.tail_logmass[temperature] for temperature in second.tail_logmass]
    for found, expected in zip(
        [first.logprobs, first.token_logprobs, *tails],
        [second.logprobs, second.token_logprobs, *second.tail_logmass.values()],
        strict=True,
    ):
        assert np.abs(found - expected).max() <= tolerance


def taught(record, conversations, placement=None, **sampling):
    """What a teacher answers, and how it scores its own answers."""
    from kdprobe.teachers.teacher import Passage, Request, Sampling
    from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher

    teacher = TransformersTeacher(TransformersOptions(model=str(record.path), batch_size=4, dtype="float32"))
    teacher.record = replace(teacher.record, placement=placement)
    asked = Sampling(**{"max_new_tokens": 8, "top_logprobs": 16, "temperatures": (1.0, 2.0)} | sampling)
    requests = [Request(id_, pair.teacher) for id_, pair in conversations.items()]
    answers = {answer.id: answer for answer in teacher.respond(requests, asked)}
    passages = [Passage(id_, [1, 2, 3], list(answer.token_ids)) for id_, answer in answers.items()]
    return answers, dict(teacher.score(passages, asked)), teacher.loaded().model


@pytest.mark.parametrize("where", ["gpus", "disk"])
@of_every_kind
def test_a_spread_teacher_answers_and_scores_like_one_on_one_device(model, conversations, offloading, where):
    sampling = {"temperature": 0.7, "top_p": 0.9, "seed": 3}
    answers, scored, _ = taught(model, conversations, **sampling)
    if where == "gpus":
        with pretended_gpus():
            found, found_scored, spread = taught(model, conversations, Placement("auto"), **sampling)
        assert {device_of(weight) for weight in spread.parameters()} == {FIRST, SECOND}
    else:
        found, found_scored, spread = taught(model, conversations, offloading, **sampling)
        assert {weight.is_meta for weight in spread.parameters()} == {True, False}
    for id_, answer in answers.items():
        assert np.array_equal(found[id_].token_ids, answer.token_ids)
        rows_equal(found[id_].rows, answer.rows, 0.0 if where == "gpus" else 1e-5)
        rows_equal(found_scored[id_], scored[id_], 0.0 if where == "gpus" else 1e-5)


@pytest.fixture(scope="module")
def adapter(model, tmp_path_factory):
    kind = model.path.name.partition("-")[0]
    return write_adapter(model, attention_projections(kind), tmp_path_factory.mktemp("adapters") / kind)


@pytest.fixture(scope="module")
def evaluated(problems, tmp_path_factory):
    """Evaluates a model and its adapter; returns their records without what the device determines."""
    import pandas as pd

    import kdprobe

    def run(model, adapters, device_map=None):
        result = kdprobe.evaluate(
            str(model.path),
            adapters=adapters,
            with_base=True,
            problems=problems[:4],
            max_new_tokens=8,
            dtype="float32",
            batch_size=3,
            device_map=device_map,
            store=tmp_path_factory.mktemp("store"),
            progress=False,
        )
        return {name: pd.read_parquet(file) for name, file in result.files.items()}

    return run


def answered(model, adapter, placement=None, ends=frozenset()):
    """What the engine `transformers` decodes and scores, some rows ending before others."""
    from kdprobe.evaluation.engines.builtin import TransformersEngine
    from kdprobe.evaluation.engines.engine import Decoding
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.students.student import Student
    from kdprobe.teachers.teacher import Passage

    student = Student("tuned", replace(model, placement=placement), adapter)
    loaded = TransformersEngine().load(student, dtype="float32", bases=SharedBases())
    # Of different lengths, with a beginning that is read once.
    prompts = [[*range(5, 100), *range(number + 1)] for number in range(4)]
    assert loaded.answers_at_once(prompts, 8) == 4
    answers = loaded.decode(prompts, Decoding(8, loaded.end_ids | ends), lambda _: None)
    scored = loaded.score([Passage(str(index), prompt, [3, 4, 5]) for index, prompt in enumerate(prompts)])
    return [answer.token_ids for answer in answers], [each.log_p for each in scored]


@of_every_kind
def test_rows_leave_a_batch_on_every_device(model, adapter):
    written, _ = answered(model, adapter)
    ends = frozenset({written[0][1], written[1][3]})
    expected = answered(model, adapter, ends=ends)
    with pretended_gpus():
        assert answered(model, adapter, Placement("auto"), ends) == expected
    assert len({len(tokens) for tokens in expected[0]}) > 1, "no row left before the others"


@of_one_kind
def test_students_spread_over_gpus_are_evaluated_alike(model, adapter, evaluated):
    expected = evaluated(model, {"tuned": adapter})
    with pretended_gpus():
        found = evaluated(model, {"tuned": adapter}, "auto")
    for name, records in expected.items():
        for column in ("response", "tokens", "log_p_gold_value", "log_p_gold_solution"):
            assert records[column].tolist() == found[name][column].tolist(), column


ANALYSES = (
    *("heads", "divergence", "attention", "geometry", "ablation", "patching", "attribution"),
    *("circuits", "logit_lens", "output_divergence", "drift"),
)

OPTIONS = {"heads": {"control": 1}, "drift": {"max_new_tokens": 8}}


@pytest.fixture(scope="module")
def probed(problems):
    """The tables of analyses of a model and its adapter."""
    import kdprobe

    def run(model, adapter, analysis, device_map=None):
        result = kdprobe.probe(
            str(model.path),
            adapters={"tuned": adapter},
            problems=problems[:2],
            analyses=[analysis],
            options={name: options for name, options in OPTIONS.items() if name == analysis},
            device_map=device_map,
            progress=False,
        )
        return result.tables[analysis]

    return run


@pytest.mark.parametrize("analysis", ANALYSES)
@of_one_kind
def test_students_spread_over_gpus_are_analysed_alike(model, adapter, analysis, probed):
    expected = probed(model, adapter, analysis)
    with pretended_gpus():
        found = probed(model, adapter, analysis, "auto")
    assert expected.keys() == found.keys()
    for name, table in expected.items():
        assert table.equals(found[name]), name


@pytest.mark.parametrize("model", ["llama"], indirect=True)
class TestOffloadedWeights:
    """What a part of a model that is not in memory between passes allows, and what it does not."""

    def test_a_model_without_an_adapter_can_be_evaluated(self, model, offloading):
        (found, found_scores), (expected, scores) = (answered(model, None, each) for each in (offloading, None))
        assert found == expected
        np.testing.assert_allclose(found_scores, scores, atol=1e-5)

    def test_nothing_is_merged_into_them(self, model, adapter, offloading):
        with pytest.raises(UsageError, match=r"Using an adapter needs all weights .* but \d+ do not fit"):
            answered(model, adapter, offloading)

    @pytest.mark.parametrize("analysis", ["heads", "geometry", "ablation", "logit_lens", "circuits"])
    def test_no_analysis_reads_them(self, model, adapter, offloading, analysis, problems, monkeypatch):
        import kdprobe

        monkeypatch.setattr("kdprobe.api.probe.named_placement", lambda _: offloading)
        with pytest.raises(UsageError, match="needs all weights"):
            kdprobe.probe(
                str(model.path), adapters={"tuned": adapter}, problems=problems[:2], analyses=[analysis], progress=False
            )

    def test_copies_of_a_model_share_them(self, model, offloading):
        from kdprobe.models.load import load
        from kdprobe.models.weights import same_weights

        loaded = load(replace(model, placement=offloading), dtype="float32").model
        copied = same_weights(loaded)
        assert copied.lm_head._hf_hook.weights_map is loaded.lm_head._hf_hook.weights_map
        assert copied.lm_head.forward.args == (copied.lm_head,)

    def test_broken_ones_are_found_when_they_are_loaded(self, model, offloading, tmp_path):
        import shutil

        import torch
        from safetensors.torch import load_file, save_file

        from kdprobe.models.load import load
        from kdprobe.models.reference import resolve

        shutil.copytree(model.path, tmp_path / "broken")
        file = tmp_path / "broken" / "model.safetensors"
        tensors = load_file(file)
        tensors["lm_head.weight"][3, 4] = torch.nan
        save_file(tensors, file, {"format": "pt"})
        with pytest.raises(KdprobeError, match="has NaN or infinite numbers in lm_head"):
            load(replace(resolve(str(file.parent)), placement=offloading), dtype="float32")


@pytest.mark.parametrize("model", ["llama"], indirect=True)
def test_gpus_that_are_not_there_are_named(model):
    from kdprobe.models.devices.spread import placing
    from kdprobe.models.load import load

    with pytest.raises(UsageError, match=r"names GPU 1, but this process sees 0 GPUs"):
        load(replace(model, placement=Placement("auto", (("1", "1GiB"),))))
    with pytest.raises(UsageError, match="does not spread such weights"):
        placing(replace(model, quantisation="fp8"), Placement("auto"))


@pytest.mark.parametrize("model", ["llama"], indirect=True)
def test_a_spread_teacher_is_released_before_students_need_its_memory(model):
    from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher

    for device_map, kept in (("auto", False), (None, True)):
        teacher = TransformersTeacher(TransformersOptions(model=str(model.path), device_map=device_map))
        first = teacher.loaded()
        teacher.close()
        assert (teacher.loaded() is first) == kept


def test_where_weights_lie_is_in_no_key(tiny_config, tiny_model):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.candidates import builtin_candidates
    from kdprobe.host.discovery import discover
    from kdprobe.host.registry import Host

    host = Host(discover(builtin_candidates()))
    text = tiny_config(tiny_model).read_text(encoding="utf-8")
    file = tiny_config(tiny_model)
    spread = text.replace("[student]\n", '[student]\ndevice_map = "auto"\nmax_memory = { cpu = "4GiB" }\n')
    file.write_text(spread.replace("[teacher.options]\n", '[teacher.options]\ndevice_map = "sequential"\n'))
    plans = [make_plan(load_experiment(each, host), host) for each in (tiny_config(tiny_model), file)]
    assert [stage.key for stage in plans[0].stages] == [stage.key for stage in plans[1].stages]
    assert plans[1].student.placement == Placement("auto", (("cpu", "4GiB"),))
    assert plans[1].context.teacher.record.placement == Placement("sequential")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_memory": {"0": "1GiB"}}, "max_memory needs device_map"),
        ({"device_map": "auto", "max_memory": {"gpu": "1GiB"}}, "must be the number of a GPU, or cpu"),
        ({"device_map": "auto", "max_memory": {"0": "much"}}, "is not an amount of memory such as 70GiB"),
        ({"device_map": "cuda"}, "Input should be 'auto'"),
    ],
)
def test_impossible_placements_are_refused(options, sentence):
    from pydantic import ValidationError

    from kdprobe.experiment.config import StudentConfig

    with pytest.raises(ValidationError, match=sentence):
        StudentConfig(**options)


def test_workers_with_one_gpu_each_spread_nothing(tiny_config, tiny_model, monkeypatch, tmp_path):
    import kdprobe

    monkeypatch.setattr("kdprobe.experiment.executors.local._visible_gpus", lambda: ["0", "1"])
    file = tiny_config(tiny_model)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("[student]\n", '[student]\ndevice_map = "auto"\n'), encoding="utf-8")
    with pytest.raises(UsageError, match="With --jobs, each process uses one GPU"):
        kdprobe.run(file, store=tmp_path, jobs=2, progress=False)


def test_other_engines_spread_models_themselves(tiny_model, problems, tmp_path):
    import kdprobe

    with pytest.raises(UsageError, match="--device-map is for models that transformers runs"):
        kdprobe.evaluate(str(tiny_model), problems=problems, model_type="x", device_map="auto", store=tmp_path)
    with pytest.raises(UsageError, match="Unknown device_map 'all'"):
        kdprobe.evaluate(str(tiny_model), problems=problems, device_map="all", store=tmp_path)


@pytest.mark.parametrize("analysis", ["contrast", "priming_map", "priming_heads", "confidence"])
def test_a_spread_teacher_and_its_students_are_analysed_alike(analysis, analysis_context):
    from kdprobe.host.candidates import builtin_candidates
    from kdprobe.host.discovery import discover
    from kdprobe.host.registry import Host
    from kdprobe.models.devices.spread import devices_of
    from kdprobe.models.load import load
    from kdprobe.probing.analysis import run_analysis
    from kdprobe.students.pool import StudentPool
    from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher

    def run(placement):
        options = TransformersOptions(model=str(analysis_context.students[0].base.path), dtype="float32")
        teacher = TransformersTeacher(options)
        teacher.record = replace(teacher.record, placement=placement)
        students = [replace(each, base=replace(each.base, placement=placement)) for each in analysis_context.students]
        context = replace(
            analysis_context,
            students=students,
            pool=StudentPool(),
            teaching=replace(analysis_context.teaching, teacher=teacher),
        )
        built = Host(discover(builtin_candidates())).create("analyses", analysis)
        return run_analysis(analysis, built, context).tables

    expected = run(None)
    with pretended_gpus():
        found = run(Placement("auto"))
        loaded = load(replace(analysis_context.students[0].base, placement=Placement("auto")), dtype="float32")
        assert devices_of(loaded.model) == [FIRST, SECOND]
    assert expected.keys() == found.keys()
    for name, table in expected.items():
        assert table.equals(found[name]), name


@pytest.mark.parametrize("model", ["llama"], indirect=True)
def test_choices_of_a_task_are_scored_alike(model):
    from kdprobe.evaluation.engines.builtin import TransformersEngine
    from kdprobe.evaluation.ledger import Ledger
    from kdprobe.evaluation.lm_eval_run import quiet_lm_eval
    from kdprobe.evaluation.tasks.recording import TaskModel
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.students.student import Student

    requests = [(("", ""), list(range(5, 30 + each)), [7, 8, 9 + each]) for each in range(3)]

    def scored(placement):
        student = Student("base", replace(model, placement=placement))
        loaded = TransformersEngine().load(student, dtype="float32", bases=SharedBases())
        with quiet_lm_eval():
            task_model = TaskModel(loaded, seed=0, largest=2)
            task_model.record_into(Ledger(None), "Choices")
            return [value for value, _ in task_model._loglikelihood_tokens(requests, disable_tqdm=True)]

    expected = scored(None)
    with pretended_gpus():
        assert scored(Placement("auto")) == expected
    # All weights, the embeddings included, are read from the disk.
    np.testing.assert_allclose(scored(Placement("auto", (("cpu", "1KB"),))), expected, atol=1e-5)
