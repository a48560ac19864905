"""Changes in circuits, for any kind of training and storage of weights, against running the model's own attention."""

import numpy as np
import pytest

from architectures import attention_projections
from kdprobe.errors import KdprobeError
from spied_attention import relative_changes

ALL = ["q_proj", "k_proj", "v_proj", "o_proj"]
FUSED = {
    "phi3": {},
    "gpt_neox": {},
    "gpt2": {},
    "falcon": {},
    "falcon by heads": {"multi_query": False},
    "falcon by groups": {"new_decoder_architecture": True, "num_kv_heads": 2},
    "qwen3": {},
    "opt": {},
}


def peft_config(kind):
    import peft

    wide = {"target_modules": ["q_proj", "o_proj"]}  # both are square, as some kinds want their targets
    return {
        "ia3": lambda: peft.IA3Config(target_modules=ALL, feedforward_modules=["o_proj"]),
        "oft": lambda: peft.OFTConfig(target_modules=ALL, oft_block_size=4, r=0),
        "loha": lambda: peft.LoHaConfig(target_modules=ALL, r=2),
        "lokr": lambda: peft.LoKrConfig(target_modules=ALL, r=2),
        "vera": lambda: peft.VeraConfig(**wide, r=4),
        "fourierft": lambda: peft.FourierFTConfig(target_modules=ALL, n_frequency=20, scaling=30.0),
        "hra": lambda: peft.HRAConfig(target_modules=ALL, r=2),
        "adalora": lambda: peft.AdaLoraConfig(target_modules=ALL, init_r=3, total_step=9, tinit=1, tfinal=1),
        "dora": lambda: peft.LoraConfig(target_modules=ALL, r=2, use_dora=True),
        "pissa": lambda: peft.LoraConfig(target_modules=ALL, r=2, init_lora_weights="pissa"),
        "saved": lambda: peft.LoraConfig(target_modules=["v_proj"], r=2, modules_to_save=["q_proj"]),
        "biases": lambda: peft.LoraConfig(target_modules=ALL, r=2, bias="all"),
        "biases of factors": lambda: peft.LoraConfig(target_modules=ALL, r=2, lora_bias=True),
        "norms": lambda: peft.LNTuningConfig(target_modules=["input_layernorm"]),
    }[kind]()


@pytest.fixture(scope="module")
def trained(torch, tmp_path_factory):
    """Writes an adapter with all weights changed at random; returns its folder and peft's model."""
    from peft import PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    def make(record, config):
        folder = tmp_path_factory.mktemp("adapters") / "adapter"
        torch.manual_seed(3)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(record.path), config)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight.add_(torch.randn_like(weight), alpha=0.2)
        model.save_pretrained(folder)
        return folder, PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(record.path), folder).eval()

    return make


def geometry(*students):
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis

    return run_analysis("geometry", Host().create("analyses", "geometry"), AnalysisContext(students=students))


def check(table, base, trained, tolerance=1e-6):
    from transformers import AutoModelForCausalLM

    expected = relative_changes(AutoModelForCausalLM.from_pretrained(base.path), trained)
    for circuit, values in expected.items():
        rows = table[table["circuit"] == circuit].sort_values(["layer", "head"])
        np.testing.assert_allclose(rows["relative"], values, rtol=tolerance)
    return expected


@pytest.mark.parametrize(
    "kind", ["ia3", "oft", "loha", "lokr", "vera", "fourierft", "hra", "adalora", "dora", "pissa", "saved"]
)
def test_any_adapter_is_measured_by_what_it_does_to_the_weights(kind, model_of, trained):
    from kdprobe.students.student import Student

    record = model_of("llama")
    folder, model = trained(record, peft_config(kind))
    expected = check(geometry(Student("tuned", record, folder)).tables["geometry"], record, model)
    assert min(expected["qk"]) > 0.01
    assert min(expected["ov"]) > 0.01


@pytest.mark.parametrize("architecture", FUSED)
def test_projections_are_found_however_an_architecture_keeps_them(architecture, model_of, trained):
    from peft import LoraConfig

    from kdprobe.students.student import Student

    kind = architecture.split()[0]
    record = model_of(kind, **FUSED[architecture])
    config = LoraConfig(r=2, target_modules=attention_projections(kind), fan_in_fan_out=kind == "gpt2")
    folder, model = trained(record, config)
    expected = check(geometry(Student("tuned", record, folder)).tables["geometry"], record, model)
    assert len(set(expected["qk"])) == 8, "heads that change alike would hide a wrong split"


def test_factors_and_merged_weights_give_the_same(model_of, trained, tmp_path):
    from peft import LoraConfig

    from kdprobe.models.reference import resolve
    from kdprobe.students.student import Student

    record = model_of("gpt_neox")
    folder, model = trained(record, LoraConfig(r=2, target_modules=["query_key_value", "dense"]))
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "merged" / file).write_bytes((record.path / file).read_bytes())
    whole = Student("whole", resolve(str(tmp_path / "merged")))
    table = geometry(Student("base", record), Student("tuned", record, folder), whole).tables["geometry"]
    by_student = [rows["relative"].to_numpy() for _, rows in table.groupby("student")]
    assert len(by_student) == 2
    np.testing.assert_allclose(*by_student, rtol=1e-5)


def test_a_student_with_more_tokens_is_compared_and_one_with_other_heads_is_not(torch, model_of, tmp_path):
    from transformers import AutoModelForCausalLM

    from kdprobe.models.reference import resolve
    from kdprobe.students.student import Student

    record = model_of("llama")
    model = AutoModelForCausalLM.from_pretrained(record.path)
    torch.manual_seed(0)
    model.resize_token_embeddings(model.config.vocab_size + 3)
    with torch.no_grad():
        model.model.layers[1].self_attn.k_proj.weight[:8].mul_(1.5)
    model.save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((record.path / file).read_bytes())
    table = geometry(Student("base", record), Student("resized", resolve(str(tmp_path)))).tables["geometry"]
    # The first key head is that of the first two query heads.
    assert table[table["change"] != 0][["layer", "head", "circuit"]].to_numpy().tolist() == [[1, 0, "qk"], [1, 1, "qk"]]
    np.testing.assert_allclose(table["relative"].max(), 0.5, rtol=1e-6)
    with pytest.raises(KdprobeError, match="attention weights of these two models differ in shape"):
        geometry(Student("base", record), Student("other", model_of("llama", num_attention_heads=8)))


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        ("norms", "norms of the layers"),
        ("biases", "biases of the projections and the norms of the layers"),
        ("biases of factors", "biases of the projections"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*LoRA tensor.s. have invalid shape")  # those of biases have, and are right
@pytest.mark.filterwarnings("ignore:Unsupported layer type")
def test_what_is_in_no_circuit_is_said_to_be_left_out(kind, also, model_of, trained):
    from kdprobe.students.student import Student

    record = model_of("starcoder2")
    statements = geometry(Student("tuned", record, trained(record, peft_config(kind))[0])).statements
    assert statements[0].endswith(f" Training also changed the {also}, which belong to no circuit.")
    assert ("no head's circuits changed" in statements[0]) == (kind == "norms")
    assert statements[-1] == "Not counted, because they belong to no circuit: the biases of the projections."


def test_an_architecture_without_circuits_is_refused(model_of):
    from kdprobe.students.student import Student

    record = model_of("deepseek_v3")
    other = model_of("deepseek_v3", hidden_act="gelu")
    with pytest.raises(KdprobeError, match=r"cannot divide the attention weights of this architecture \(deepseek_v3\)"):
        geometry(Student("base", record), Student("other", other))


def test_parts_that_only_one_of_two_models_has_are_changes(torch, model_of, tmp_path):
    from transformers import AutoModelForCausalLM

    from kdprobe.models.reference import resolve
    from kdprobe.students.student import Student

    record = model_of("llama")
    for name, config in {"with": {"attention_bias": True}, "without": {}}.items():
        model = AutoModelForCausalLM.from_pretrained(record.path, **config)
        if config:
            for layer in model.model.layers:
                torch.nn.init.ones_(layer.self_attn.q_proj.bias)
        model.save_pretrained(tmp_path / name)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / name / file).write_bytes((record.path / file).read_bytes())
    with_biases, without = (Student(name, resolve(str(tmp_path / name))) for name in ("with", "without"))
    for first, other in ((with_biases, without), (without, with_biases)):
        statements = geometry(first, other).statements
        assert "Training also changed the biases of the projections, which belong to no circuit." in statements[0]
