"""`[resources]`: threads and device are part of keys as stated, and checked by the process that does the work."""

import pytest

import kdprobe
from kdprobe.errors import KdprobeError
from kdprobe.models.outline import resources
from kdprobe.models.outline.resources import Resources


@pytest.fixture
def keys(torch, tiny_model, tiny_config, tmp_path):
    def of(**stated):
        import tomllib

        config = tomllib.loads(tiny_config(tiny_model, extra='analyses = ["geometry"]').read_text())
        planned = kdprobe.plan({**config, "resources": stated} if stated else config, store=tmp_path / "store")
        return {(row["kind"], row["name"]): row["key"] for row in planned.stage_rows}, planned

    return of


def changed(one, other):
    return {kind for (kind, name), key in one.items() if other[kind, name] != key}


def test_only_stages_of_the_stated_kind_and_what_follows_have_other_keys(keys):
    plain, _ = keys()
    assert keys(threads=1)[0] == plain  # as torch decides in these tests
    assert changed(plain, keys(analyse={"threads": 2})[0]) == {"analyse"}
    assert changed(plain, keys(evaluate={"threads": 2})[0]) == {"evaluate"}
    assert changed(plain, keys(distill={"threads": 2})[0]) == {"distill", "evaluate", "analyse"}
    assert changed(plain, keys(threads=2)[0]) == {"transfer", "distill", "evaluate", "analyse"}
    assert changed(keys(threads=2)[0], keys(threads=2, analyse={"threads": 3})[0]) == {"analyse"}


def test_a_stated_device_is_planned_for_where_there_is_none(keys):
    plain, _ = keys()
    assert keys(device="cpu")[0] == plain
    stated, planned = keys(distill={"device": "cuda"})
    assert changed(plain, stated) == {"distill", "evaluate", "analyse"}
    settings = {stage.kind: stage.settings for stage in planned.details.stages}
    assert settings["distill"]["environment"]["device"] == "cuda"
    assert settings["evaluate"]["environment"]["device"] == "cpu"
    # What is left to the device is decided for the stated one: `auto` is bfloat16 on a GPU.
    _, planned = keys(transfer={"device": "cuda"})
    teacher = next(stage.settings["teacher"] for stage in planned.details.stages if stage.kind == "transfer")
    assert teacher["dtype"] == "bfloat16"


def test_what_an_executor_only_reserves_is_in_no_key(keys):
    plain, _ = keys()
    stated, planned = keys(gpus=0.5, memory_gib=2, transfer={"gpus": 4})
    assert stated == plain
    reserved = {stage.kind: (stage.resources.gpus, stage.resources.memory_gib) for stage in planned.details.stages}
    assert (reserved["transfer"], reserved["distill"]) == ((4, 2), (0.5, 2))


def test_work_for_a_gpu_is_refused_where_there_is_none(keys, tiny_model, tiny_config, tmp_path):
    import tomllib

    config = tomllib.loads(tiny_config(tiny_model, extra='analyses = ["geometry"]').read_text())
    with pytest.raises(KdprobeError, match="planned for the device 'cuda', but this process finds no GPU"):
        kdprobe.run({**config, "resources": {"device": "cuda"}}, store=tmp_path / "store", progress=False)


def test_work_for_a_processor_is_refused_where_a_gpu_would_be_used(monkeypatch):
    monkeypatch.setattr(resources, "default_device", lambda: "cuda:1")
    Resources(device="cuda").refuse_other_device()
    with pytest.raises(KdprobeError, match="CUDA_VISIBLE_DEVICES to -1"), Resources(device="cpu").held():
        pass


def test_threads_are_set_for_the_work_and_put_back(torch):
    before = torch.get_num_threads()
    with Resources(threads=before + 1).held():
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_each_kind_of_stage_works_with_its_threads(torch, tiny_model, tiny_config, tmp_path, monkeypatch):
    import tomllib

    from kdprobe.experiment.stages.stage import Stage

    threads = {}
    real = Stage.run

    def run(stage, *arguments):
        work = stage.work

        def watched(*given):
            threads[stage.kind] = torch.get_num_threads()
            work(*given)

        object.__setattr__(stage, "work", watched)
        real(stage, *arguments)

    monkeypatch.setattr(Stage, "run", run)
    config = tomllib.loads(tiny_config(tiny_model, extra='analyses = ["geometry"]').read_text())
    stated = {"threads": 2, "evaluate": {"threads": 3}}
    kdprobe.run({**config, "resources": stated}, store=tmp_path / "store", progress=False)
    assert threads == {"transfer": 2, "distill": 2, "evaluate": 3, "analyse": 2}
