"""Sizes of models without their weights, against the models themselves; costs in plans, and plans without weights."""

import json
import shutil

import pytest

import kdprobe
from architectures import ARCHITECTURES, write_model
from kdprobe.errors import KdprobeError
from kdprobe.experiment.costs import runner
from kdprobe.experiment.costs.devices import TABLE, Devices, core
from kdprobe.models import load_tokenizer, resolve
from kdprobe.models.outline.memory import Memory
from kdprobe.models.outline.sizes import sizes

_TABLES = 0.05
"""Norms and biases, which are counted like matrices; a twentieth of a tiny model, and nothing of a large one."""
FAMILIES = ["llama", "qwen3", "gemma2", "gpt2", "gpt_neox", "mixtral", "qwen3_moe", "gpt_oss", "phi3", "opt"]


@pytest.fixture(scope="module")
def tokenizer(tiny_record):
    return load_tokenizer(tiny_record)


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_are_those_of_the_model(torch, family, tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM

    folder = write_model(family, tokenizer, tmp_path / family)
    found = sizes(resolve(str(folder)), Memory())
    model = AutoModelForCausalLM.from_pretrained(folder)
    weights = {id(weight): weight.numel() for weight in model.parameters()}
    assert found.parameters == sum(weights.values())
    inputs, outputs = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    positions = [weight.numel() for name, weight in model.named_parameters() if "wpe" in name or "embed_pos" in name]
    assert (found.embedding, found.head) == (inputs.numel() + sum(positions), outputs.numel())
    assert found.tied == (inputs is outputs)
    cache = model(torch.ones(1, 10, dtype=torch.long), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert found.cached(4) * 10 == held
    experts = ARCHITECTURES[family].get("num_local_experts") or ARCHITECTURES[family].get("num_experts") or 0
    assert found.experts == experts
    if experts:
        # Two of four experts.
        assert found.body - found.active == pytest.approx(found.routed / 2)
        expected = sum(weight.numel() for name, weight in model.named_parameters() if "experts." in name)
        assert found.routed == expected > 0


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_arithmetic_is_what_torch_counts(torch, family, tokenizer, tmp_path, monkeypatch):
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    folder = write_model(family, tokenizer, tmp_path / family)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    pure = runner.Efficiency(1.0, 1.0, 1.0, 0.0, 1, 0.0, float("inf"), 1.0)
    monkeypatch.setattr(runner, "EAGER_CPU", pure)
    slow = Devices(TABLE["apple-m"])
    run = runner.Runner(sizes(resolve(str(folder)), Memory()), "float32", slow)
    monkeypatch.setattr(runner.Runner, "_touched", lambda *_: 0.0)
    ids = torch.ones(2, 12, dtype=torch.long)

    def counted(work):
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    def operations(seconds):
        return seconds * slow.model.single

    forward = counted(lambda: model(ids, logits_to_keep=1))
    # Eager attention multiplies what the mask then hides, so that each token meets all twelve.
    logits_moved = 2 * run.sizes.vocabulary * 16 / slow.model.bandwidth
    assert operations(run.reading_seconds(24, 24, 2, 0) - logits_moved) == pytest.approx(forward, rel=_TABLES)
    model.requires_grad_(False)
    embedded = model.get_input_embeddings()(ids).requires_grad_()

    def train():
        model.base_model(inputs_embeds=embedded).last_hidden_state.sum().backward()

    assert operations(run.training_seconds(24, 24, 0, 0, again=False)) == pytest.approx(counted(train), rel=_TABLES)


@pytest.fixture
def planned(torch, tiny_model, tiny_config, tmp_path):
    import tomllib

    config = tomllib.loads(tiny_config(tiny_model, extra='analyses = ["heads"]').read_text())

    def plan(**resources):
        return kdprobe.plan({**config, "resources": resources} if resources else config, store=tmp_path / "store")

    return plan


def test_a_plan_predicts_every_stage_from_shapes(planned, run_cli):
    found = planned()
    assert [row["cost"]["basis"] for row in found.stage_rows] == ["shapes"] * len(found.stage_rows)
    assert found.outlook.unknown == 0
    assert found.outlook.seconds == pytest.approx(sum(row["cost"]["seconds"] for row in found.stage_rows))
    (row,) = [row for row in found.stage_rows if (row["kind"], row["name"]) == ("transfer", "unprimed")]
    # Four problems, whose prompts the plan counts as the tokenizer does.
    reader, pairs = found.details.context.student_reader, found.details.conversations["unprimed"]
    texts = reader.texts([pair.teacher for pair in pairs.values()])
    assert row["cost"]["tokens_read"] == sum(len(reader.tokenizer(text)["input_ids"]) for text in texts)
    assert row["cost"]["tokens_written"] == 4 * found.details.experiment.transfer.max_new_tokens
    assert json.loads(found.to_json())["stages"][0]["cost"] == found.stage_rows[0]["cost"]


def test_devices_change_costs_and_neither_keys_nor_the_name_of_the_run(planned):
    plain = planned()
    stated = planned(devices={"all": "rtx-4090", "distill": "h100 x 2"}, answer_tokens=3)
    assert stated.run == plain.run
    assert [row["key"] for row in stated.stage_rows] == [row["key"] for row in plain.stage_rows]
    costs = {row["kind"]: row["cost"] for row in stated.stage_rows}
    assert (costs["distill"]["devices"], costs["evaluate"]["devices"]) == ("H100 x 2", "RTX 4090")
    assert costs["distill"]["device_hours"] == pytest.approx(costs["distill"]["seconds"] * 2 / 3600)
    assert costs["transfer"]["tokens_written"] == 4 * 3
    assert "Answers have 3 tokens on average, as [resources] states." in stated.bill.assumptions


def test_a_launch_that_divides_the_student_needs_less_memory_per_device_and_says_how(planned, monkeypatch):
    """Costs of training only: the other processes wait while the first one answers and evaluates."""
    monkeypatch.setenv("RANK", "0")
    found = {}
    for count, sharding in ((1, {}), (4, {}), (4, {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"})):
        monkeypatch.setenv("WORLD_SIZE", str(count))
        for name, value in sharding.items():
            monkeypatch.setenv(name, value)
        plan = planned(devices={"all": "h100", "distill": f"h100 x {count}"})
        costs = {row["kind"]: row["cost"] for row in plan.stage_rows}
        found[count, bool(sharding)] = costs["distill"], costs["evaluate"], " ".join(plan.bill.assumptions)
    (one, alone, _), (copies, beside, said), (slices, after, told) = found.values()
    assert one["memory"] == copies["memory"] > slices["memory"]
    assert copies["devices"] == slices["devices"] == "H100 x 4"
    assert alone == beside == after
    assert "FSDP2" not in said
    assert "FSDP2 divides the student's weights among 4 processes in training" in told


def test_unknown_devices_are_errors_in_the_config(planned):
    with pytest.raises(KdprobeError, match=r"resources.devices.distill: there is no device 'h1000'"):
        planned(devices={"distill": "h1000"})


def test_work_for_a_gpu_of_no_stated_model_has_no_costs_and_says_so(planned):
    found = planned(distill={"device": "cuda"})
    assert {row["kind"] for row in found.stage_rows if row["cost"] is None} == {"distill"}
    assert found.outlook.unknown == sum(row["kind"] == "distill" for row in found.stage_rows)
    assert any("The devices for distill are unknown: name them" in said for said in found.bill.assumptions)


def test_models_can_be_planned_without_their_weights_but_not_run(planned, tiny_model, tiny_config, tmp_path, run_cli):
    shape = tmp_path / "shape"
    shutil.copytree(tiny_model, shape, ignore=shutil.ignore_patterns("*.safetensors"))
    config = tiny_config(shape, extra='analyses = ["heads"]')
    found = kdprobe.plan(config, store=tmp_path / "store")
    assert [finding.code for finding in found.findings].count("no-weights") == 1
    costs = [row["cost"]["seconds"] for row in found.stage_rows]
    assert costs == pytest.approx([row["cost"]["seconds"] for row in planned().stage_rows])
    with pytest.raises(KdprobeError, match="does not contain a model"):
        kdprobe.run(config, store=tmp_path / "store", progress=False)


def test_training_keeps_what_autograd_saves(torch, tokenizer, tmp_path, monkeypatch):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = write_model(
        "llama", tokenizer, tmp_path / "llama", hidden_size=64, intermediate_size=192, num_hidden_layers=4
    )
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=1, target_modules=targets))
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids = torch.ones(4, 16, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _held = model.base_model.model.model(ids).last_hidden_state
    run = runner.Runner(sizes(resolve(str(folder)), Memory()), "float32", Devices(core()))
    predicted = run.training_memory(4, 16, 0, again=False) - run.training_memory(0, 16, 0, again=False)
    assert predicted / run.efficiency.kept == pytest.approx(sum(size for size, _ in saved.values()), rel=0.15)
