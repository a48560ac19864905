"""Anything that would make a run fail hours later is reported when it is planned, without loading weights."""

import json
import shutil
import tomllib

import pytest

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models.installed import importable

DEEPSEEK = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 2,
    "n_routed_experts": 4,
}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
HYBRID = {**SMALL, "num_hidden_layers": 4, "num_key_value_heads": 4, "head_dim": 8, "num_experts": 2}
HYBRID["layer_types"] = ["linear_attention"] * 3 + ["full_attention"]
NAMED = {"lora": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}}
ALL_LINEAR = {"lora": {"target_modules": "all-linear"}}


@pytest.fixture
def model(tiny_model, tmp_path):
    """Copies the tiny model; the copy's configuration is that of another architecture, or has different fields."""

    def make(name, kind=None, **fields):
        from transformers import AutoConfig

        folder = shutil.copytree(tiny_model, tmp_path / name)
        settings = json.loads((folder / "config.json").read_text())
        if kind:
            kept = {key: settings[key] for key in ("vocab_size", "eos_token_id", "pad_token_id")}
            settings = AutoConfig.for_model(kind, **kept).to_dict()
        (folder / "config.json").write_text(json.dumps(settings | fields))
        return folder

    return make


@pytest.fixture
def plan(tiny_config, tiny_model, monkeypatch):
    """Plans a tiny experiment with other models or options; loading weights fails."""

    def make(student=tiny_model, teacher=tiny_model, adapter=None, **sections):
        from transformers import PreTrainedModel

        from kdprobe.experiment.load_config import check
        from kdprobe.experiment.plan import make_plan
        from kdprobe.host.registry import Host

        data = tomllib.loads(tiny_config(student).read_text())
        data["teacher"]["options"] |= {"model": str(teacher)} | ({"adapter": str(adapter)} if adapter else {})
        for name, changes in sections.items():
            data[name] = {**data.get(name, {}), **changes} if isinstance(changes, dict) else changes
        host = Host()
        experiment = check(data, host, "mine.toml")
        monkeypatch.setattr(PreTrainedModel, "from_pretrained", lambda *_, **__: pytest.fail("weights were loaded"))
        return make_plan(experiment, host)

    return make


def told(plan, *words, **changes):
    """The sentences with which a plan is rejected; each must contain all of the given words."""
    with pytest.raises(UsageError) as caught:
        plan(**changes)
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def codes(planned):
    return {finding.code for finding in planned.findings}


def test_a_teacher_of_another_family_is_refused_with_advice_that_works(plan, stranger):
    sentence = told(plan, "compares teacher and student token by token", 'distill.name = "sequence"', teacher=stranger)
    assert "ids stand for different tokens" in sentence
    told(plan, "'published' compares", teacher=stranger, distill={"name": "published", "options": {}})
    assert plan(teacher=stranger, distill={"name": "sequence"}).stages


def test_what_a_teacher_cannot_give_is_refused(plan, monkeypatch):
    from kdprobe.teachers.transformers_teacher import TransformersTeacher

    published = {"name": "published", "options": {}}
    assert plan(distill=published).stages
    monkeypatch.setattr(TransformersTeacher, "max_logprobs", 15, raising=False)
    told(plan, "top_logprobs is 16, but the teacher keeps at most 15", "Set it to 15 or less.")
    told(plan, "'published' needs the teacher's whole next-token distribution", "Use the teacher", distill=published)
    assert plan(transfer={"top_logprobs": 15}).stages
    assert plan(distill={"name": "sequence"}).stages
    monkeypatch.delattr(TransformersTeacher, "max_logprobs")
    monkeypatch.delattr(TransformersTeacher, "score")
    told(plan, "'published' needs the teacher's whole next-token distribution", distill=published)


def test_an_architecture_without_gradient_checkpointing_is_named(plan, model):
    options = {"gradient_checkpointing": True, "lora": {"target_modules": "all-linear"}}
    student = model("japanese", "gpt_neox_japanese", hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    distill = {"name": "sequence", "options": options}
    told(plan, "does not implement", "japanese' (gpt_neox_japanese)", student=student, teacher=student, distill=distill)


def test_a_launch_in_mixed_precision_is_refused_before_anything_is_run(plan, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    told(plan, "mixed precision (bf16)", "distill.dtype")


def test_prompts_that_leave_no_room_are_named(plan, model):
    short = model("short", max_position_embeddings=100)
    # The longest prompts have 97 tokens primed and 66 bare; 8 new ones are asked for.
    sentence = told(plan, "short'", "no room for 8 new", "strategy 'teacher'", teacher=short, student=short)
    assert "problems.transfer" not in sentence
    assert "transfer-" in sentence or "tokens)" in sentence


def test_a_budget_above_the_context_is_said_once(plan, model):
    short = model("short", max_position_embeddings=64)
    told(plan, "transfer.max_new_tokens is 64", teacher=short, transfer={"max_new_tokens": 64})
    told(plan, "evaluation.max_new_tokens is 512", student=short, evaluation={"max_new_tokens": 512})


@pytest.mark.parametrize(
    ("kind", "fields", "absent", "present"),
    [
        ("phi3", SMALL, "no q_proj, k_proj, v_proj, so only o_proj", "o_proj, qkv_proj, gate_up_proj, down_proj"),
        ("gpt_neox", SMALL, "no q_proj, k_proj, v_proj, o_proj, so nothing", "query_key_value, dense"),
        ("deepseek_v3", DEEPSEEK, "no q_proj, k_proj, v_proj, so only o_proj", "q_a_proj, q_b_proj, kv_a_proj"),
    ],
)
def test_target_modules_that_are_not_there_are_told_with_what_there_is(plan, model, kind, fields, absent, present):
    student = model(kind, kind, **fields)
    told(
        plan,
        "options.lora.target_modules",
        f"({kind}) has {absent} would be trained",
        present,
        student=student,
        distill={"options": NAMED},
    )
    # What the sentence advises works, and so does the default.
    plan(student=student, distill={"options": ALL_LINEAR}, controls={"fine_tuned": False}, probe={"analyses": []})
    plan(student=student, probe={"analyses": []})


def test_the_default_target_modules_are_those_of_the_architecture(plan, model, tiny_model):
    from kdprobe.experiment.stages.distill import adapted_modules

    def distilled(student, options):
        planned = plan(student=student, distill={"options": options}, probe={"analyses": []})
        return planned, next(stage for stage in planned.stages if stage.kind == "distill" and stage.inputs)

    planned, stage = distilled(model("phi3", "phi3", **SMALL), {})
    assert adapted_modules(planned.stages) == dict.fromkeys(["fine-tune", "logits"], "o_proj, qkv_proj")
    assert stage.settings["options"]["lora"]["target_modules"] == ["o_proj", "qkv_proj"]
    # Written out, they are the same training.
    _, default = distilled(tiny_model, {})
    _, named = distilled(tiny_model, NAMED)
    assert default.key == named.key
    assert default.settings["options"]["lora"]["target_modules"] == NAMED["lora"]["target_modules"]


def test_trials_of_a_study_train_the_modules_that_a_run_would(plan, model):
    from kdprobe.experiment.tune.search import prepare
    from kdprobe.host.registry import Host

    student = model("phi3", "phi3", **SMALL)
    experiment = plan(student=student, tune={"validation": 2}, probe={"analyses": []}).experiment
    distilled, _ = prepare(experiment, Host()).stages("trial 0", {"lora": {"rank": 2}})
    assert distilled.settings["options"]["lora"]["target_modules"] == ["o_proj", "qkv_proj"]


def test_a_student_without_attention_wants_its_target_modules_named(plan, model):
    student = model("mamba", "mamba", hidden_size=32, num_hidden_layers=2, state_size=4)
    words = "distill.options.lora.target_modules", "of the student (mamba)", "all-linear"
    assert told(plan, *words, student=student, probe={"analyses": []}).count("of the student") == 1
    plan(
        student=student,
        distill={"options": ALL_LINEAR},
        controls={"fine_tune_options": {"lora": {"target_modules": ["in_proj"]}}},
        probe={"analyses": []},
    )


def test_layers_without_any_target_are_a_finding(plan, model):
    student = model("hybrid", "qwen3_next", **HYBRID)
    planned = plan(student=student, probe={"analyses": []})
    (finding,) = [finding for finding in planned.findings if finding.code == "untrained-layers"]
    assert "3 of the student's 4 layers" in finding.evidence
    assert finding.action.startswith("To train these layers too, add their modules; the model has ")
    assert "in_proj_qkvz" in finding.action


@pytest.mark.parametrize(
    ("method", "package"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4}, "optimum"),
        ({"quant_method": "awq", "bits": 4, "version": "gemm"}, "gptqmodel"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {}}, "compressed-tensors"),
        ({"quant_method": "never-heard-of"}, "never-heard-of"),
    ],
)
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_packages_that_quantised_weights_need_are_named(plan, model, role, method, package):
    if importable(package.replace("-", "_")):
        pytest.skip(f"{package} is installed")
    told(plan, "quantised'", package, **{role: model("quantised", quantization_config=method)})


def test_models_that_cannot_be_loaded_are_told(plan, model):
    told(plan, "configuration of the model", student=model("unknown", model_type="never-heard-of"))
    broken = model("broken")
    (broken / "config.json").write_text("{")
    with pytest.raises(KdprobeError, match=r"config\.json"):
        plan(student=broken)
    told(plan, "is not a causal language model", student=model("vision", "vit"))
    told(plan, "`num_hidden_layers` (3)", student=model("torn", "qwen3_next", **HYBRID | {"num_hidden_layers": 3}))
    cut = model("cut")
    weights = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    told(plan, "model.safetensors is incomplete", teacher=cut)
    shards = model("shards")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    told(plan, "model-00002-of-00002.safetensors is missing", student=shards)


def test_tokens_without_a_row_are_told_where_prompts_or_answers_need_them(plan, model, tmp_path):
    from transformers import AutoTokenizer

    folder = model("narrow")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<|unused|>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    # A token that nothing uses does no harm.
    assert plan(student=folder, teacher=folder).stages
    tokenizer.chat_template = "<|unused|>" + tokenizer.chat_template
    tokenizer.save_pretrained(folder)
    sentence = told(
        plan, "tokens without a row", "including '<|unused|>', found in prompts", student=folder, teacher=folder
    )
    assert sentence.count("tokens without a row") == 2


def test_a_tokenizer_that_ends_nothing_is_told(plan, model):
    endless = model("endless")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (endless / name).is_file():
            settings = json.loads((endless / name).read_text())
            settings.pop("eos_token", None)
            (endless / name).write_text(json.dumps(settings))
    (endless / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    told(plan, "no token that ends an answer", student=endless)


def test_options_that_so_few_examples_do_not_allow_are_told(plan):
    told(plan, "distill.options.validation: holding out 90% of 4", distill={"options": {"validation": 0.9}})
    planned = plan(transfer={"top_logprobs": 100_000})
    assert "top-k-above-vocabulary" in codes(planned)
    assert "top-k-above-vocabulary" not in codes(plan())


def test_analyses_of_heads_need_attention(plan, model):
    told(
        plan,
        "probe.analyses (heads, ablation): kdprobe cannot find the attention heads of this architecture (mamba)",
        student=model("mamba", "mamba", hidden_size=32, num_hidden_layers=2),
        distill={"options": ALL_LINEAR},
        controls={"fine_tuned": False},
        probe={"analyses": ["heads", "confidence", "ablation"]},
    )


def test_all_mistakes_are_told_at_once(plan, model):
    student = model("phi3", "phi3", **SMALL, max_position_embeddings=16)
    sentence = told(plan, "would fail for 4 reasons", student=student, distill={"options": NAMED})
    assert "in the test set, 4 problems leave no room for 8 new tokens" in sentence
    assert "Remove these problems, or lower evaluation.max_new_tokens." in sentence
    assert "4 transfer problems plus their gold solutions are longer than that" in sentence
    assert "qkv_proj" in sentence


def test_too_little_evidence_is_said_before_anything_is_paid_for(plan, run_cli, tiny_config, tiny_model, tmp_path):
    planned = plan()
    assert {"too-few-problems", "single-seed"} <= codes(planned)
    (finding,) = [finding for finding in planned.findings if finding.code == "too-few-problems"]
    # Four problems: 2 / 2**4, twice that in families of two.
    assert "0.25 (distilled vs untrained)" in finding.evidence
    assert "0.12 (primed vs unprimed)" in finding.evidence
    # 2 * 2 / 2**6 is above 0.05, 2 * 2 / 2**7 is not.
    assert "problems.test to 7 or more" in finding.action
    shown = json.loads(run_cli("plan", tiny_config(tiny_model), "--store", tmp_path, "--json"))
    assert {"too-few-problems", "single-seed"} <= {finding["code"] for finding in shown["findings"]}


def test_a_run_without_an_unprimed_arm_cannot_say_what_priming_does(plan):
    assert "no-unprimed-arm" in codes(plan(strategies=["teacher"]))
    # What a strategy does decides, whatever it is called.
    assert "no-unprimed-arm" not in codes(plan(strategies=["teacher", {"name": "none", "label": "bare"}]))


def test_a_student_that_is_its_own_teacher_is_reported_unless_it_learns_something_else(
    plan, make_adapter, tiny_model, stranger
):
    adapter = make_adapter(tiny_model, 0)
    (finding,) = [finding for finding in plan().findings if finding.code == "self-taught"]
    assert "strategy 'unprimed'" in finding.evidence
    assert "teacher.options.adapter" in finding.action
    assert "self-taught" in codes(plan(distill={"name": "sequence"}))
    others = [
        {"strategies": ["teacher"]},
        {"adapter": adapter},
        {"student": stranger, "distill": {"name": "sequence"}},
        {"distill": {"name": "sequence"}, "transfer": {"filter": "correct"}},
        {"distill": {"name": "sequence"}, "transfer": {"texts": "teacher"}},
        # It also learns from the gold solutions.
        {"distill": {"name": "published", "options": {}}},
    ]
    for changes in others:
        assert "self-taught" not in codes(plan(**changes)), changes


def test_a_strategy_that_leaves_out_the_question_is_reported(problems):
    from kdprobe.experiment.foresight.prompts import questions_left_out
    from kdprobe.strategies.prompt_pair import PromptPair, bare

    def pair(text):
        return PromptPair([{"role": "system", "content": "Teach."}, {"role": "user", "content": text}], [])

    asked = {problem.id: pair(f"{problem.question}\n\nState the units.") for problem in problems}
    never = {problem.id: pair("State the units.") for problem in problems}
    once = {**asked, problems[1].id: pair("State the units.")}
    unprimed = {problem.id: PromptPair(bare(problem), bare(problem)) for problem in problems}
    strategies = {"asked": asked, "never": never, "once": once, "unprimed": unprimed}
    of_all, of_one = questions_left_out(strategies, problems)
    assert "'never'" in of_all.evidence
    assert f"lacks the exact question for {len(problems)} of {len(problems)} transfer problems" in of_all.evidence
    assert "'once'" in of_one.evidence
    assert f"lacks the exact question for 1 of {len(problems)} transfer problems: {problems[1].id}." in of_one.evidence


def test_a_plan_of_the_tiny_model_has_no_other_findings(plan):
    assert codes(plan()) == {"too-few-problems", "single-seed", "few-probed-problems", "self-taught"}


@pytest.mark.parametrize(
    ("probed", "analyses", "listed"),
    [
        (16, ["heads"], "heads (4 problems)"),
        (
            2,
            ["geometry", "heads", {"name": "patching", "options": {"problems": 1}}],
            "heads (2 problems), patching (1 problem)",
        ),
    ],
)
def test_too_few_probed_problems_are_said(plan, probed, analyses, listed):
    planned = plan(probe={"problems": probed, "analyses": analyses})
    (finding,) = [finding for finding in planned.findings if finding.code == "few-probed-problems"]
    assert f"Some analyses use very few problems: {listed}." in finding.evidence
    assert "at least 6" in finding.action


def test_analyses_without_statistics_over_problems_need_no_number_of_them(plan):
    assert "few-probed-problems" not in codes(plan(probe={"problems": 2, "analyses": ["geometry", "attention"]}))
