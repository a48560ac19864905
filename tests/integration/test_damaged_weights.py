"""Adapters and bases that are damaged, or do not belong together, are all rejected; none is scored."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from kdprobe.errors import KdprobeError
from kdprobe.models.reference import resolve

PREFIX = "base_model.model."
FIRST = f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight"


def in_file(change):
    """Damage to the tensors of an adapter or a base: `change(tensors)` returns the new ones, or changes them."""

    def damage(folder):
        (file,) = folder.glob("*.safetensors")
        tensors = load_file(file)
        tensors = change(tensors) or tensors
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, {"format": "pt"})

    return damage


def in_config(**changes):
    """Damage to the configuration of an adapter or a base; `None` removes a setting."""

    def damage(folder):
        (file,) = (found for name in ("adapter_config.json", "config.json") if (found := folder / name).is_file())
        settings = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))

    return damage


def in_text(name, text):
    return lambda folder: (folder / name).write_text(text)


def cut(folder):
    (file,) = folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])


def put(name, value):
    def change(tensors):
        tensors[name].view(-1)[3] = float(value)

    return change


def without(part):
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def renamed(old, new):
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


def beside(name, like):
    return lambda tensors: {**tensors, name: tensors[like].clone()}


LACKS, NO_PLACE, SHAPE = "does not fit the model .*: it lacks", "the model does not use", "has shape"
ADAPTERS = {
    "one tensor is missing": (in_file(without("layers.1.self_attn.v_proj.lora_B")), f"{LACKS} the tensor"),
    "half of the tensors are missing": (in_file(without("lora_B")), f"{LACKS} 8 tensors, such as"),
    "a layer is missing": (in_file(without("layers.1.")), f"{LACKS} 8 tensors"),
    "all tensors are missing": (in_file(lambda _: {"other": _[FIRST]}), f"{LACKS} 16 tensors"),
    "tensors are renamed": (in_file(renamed("lora_A", "lora_a")), f"{LACKS} 8 tensors"),
    "the prefix is missing": (in_file(renamed(PREFIX, "")), f"{LACKS} 16 tensors"),
    "the prefix is there twice": (in_file(renamed(PREFIX, PREFIX * 2)), f"{LACKS} 16 tensors"),
    "the prefix is another": (in_file(renamed("model.layers", "model.decoder.layers")), f"{LACKS} 16 tensors"),
    "the adapter's name is in the names": (in_file(renamed("lora_A.", "lora_A.default.")), f"{LACKS} 8 tensors"),
    "a layer is too many": (in_file(beside(FIRST.replace(".0.", ".7."), FIRST)), f"{NO_PLACE} the tensor"),
    "another module is there": (in_file(beside(FIRST.replace("q_proj", "gate_proj"), FIRST)), NO_PLACE),
    "a whole layer of the base is there": (in_file(beside(f"{PREFIX}model.norm.weight", FIRST)), NO_PLACE),
    "magnitudes of DoRA are there": (in_file(beside(FIRST.replace("A.weight", "magnitude_vector"), FIRST)), NO_PLACE),
    "a tensor is transposed": (in_file(lambda tensors: {**tensors, FIRST: tensors[FIRST].T}), SHAPE),
    "the rank is another": (in_config(r=4), SHAPE),
    "a number is NaN": (in_file(put(FIRST, "nan")), "NaN or infinite numbers in base_model.*q_proj.lora_A"),
    "a number is infinite": (in_file(put(FIRST, "-inf")), "NaN or infinite numbers in base_model.*q_proj.lora_A"),
    "the file is cut": (cut, "Cannot read the weights of the adapter"),
    "the file is a text": (in_text("adapter_model.safetensors", "version https://git-lfs"), "Cannot read"),
    "the configuration is cut": (in_text("adapter_config.json", '{"peft_type": "LO'), "is not valid JSON"),
    "the configuration is a list": (in_text("adapter_config.json", "[]"), "is not a JSON object"),
    "the kind is missing": (in_config(peft_type=None), "has type None, which PEFT .* does not support"),
    "the kind is unknown": (in_config(peft_type="LORA2"), "has type 'LORA2', which PEFT .* does not support"),
    "the kind is another": (in_config(peft_type="IA3"), "sets 'bias', which PEFT .* does not support"),
    "a field is of a newer peft": (in_config(lora_gamma=2), "sets 'lora_gamma', which PEFT .* does not support"),
    "a field has another type": (in_config(r="four"), "PEFT reports"),
    "no module is named": (in_config(target_modules=["query"]), "PEFT reports: .*'query'"),
    "a module fewer is named": (in_config(target_modules=["q_proj", "k_proj", "o_proj"]), NO_PLACE),
    "a module more is named": (
        in_config(target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]),
        f"{LACKS} 4 tensors",
    ),
    "DoRA has no magnitudes": (in_config(use_dora=True), f"{LACKS} 8 tensors, .*lora_magnitude_vector"),
    "a saved module is missing": (in_config(modules_to_save=["lm_head"]), f"{LACKS} the tensor .*lm_head.weight"),
    "saved tokens are missing": (in_config(trainable_token_indices=[1, 2]), f"{LACKS} the tensor .*tokens_delta"),
    "the beginning was random": (in_config(init_lora_weights="pissa_niter_4"), "cannot be reconstructed"),
    "the beginning needs data": (in_config(init_lora_weights="corda"), "PEFT reports: .*eigens"),
}
OTHERS = {
    "deeper": ({"num_hidden_layers": 3}, f"{NO_PLACE} 8 tensors"),
    "shallower": ({"num_hidden_layers": 1}, f"{LACKS} 8 tensors"),
    "wider": ({"hidden_size": 64, "head_dim": 16}, SHAPE),
    "of more heads": ({"num_key_value_heads": 4}, SHAPE),
}


@pytest.fixture(scope="module")
def whole(tiny_model, make_adapter):
    """An adapter that fits."""
    return make_adapter(tiny_model, 0)


@pytest.fixture(scope="module")
def refused(tiny_record):
    """Whether an adapter is rejected everywhere with one sentence; the tiny model must stay unchanged."""
    from kdprobe.models.load import load
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.probing.weights.geometry import circuit_changes
    from kdprobe.students.bridges import Bridges
    from kdprobe.students.pool import StudentPool
    from kdprobe.students.student import Student

    bases, pool = SharedBases(), StudentPool()
    pool.bases = bases
    before = {name: weight.clone() for name, weight in load(tiny_record).model.state_dict().items()}

    def check(folder, sentence):
        student = Student("damaged", tiny_record, folder)
        for door in (
            lambda: bases.student(tiny_record, folder),
            lambda: Bridges([student], [[1, 2, 3], [4, 5]], bases).boot("damaged"),
            lambda: circuit_changes([Student("base", tiny_record), student], pool),
        ):
            with pytest.raises(KdprobeError, match=sentence) as caught:
                door()
            assert caught.value.message.count("\n") == 0
        after = bases.base(tiny_record).model.state_dict()
        assert all((after[name] == weight).all() for name, weight in before.items())

    return check


@pytest.mark.parametrize("form", ADAPTERS)
def test_damaged_adapters_are_refused(form, whole, tmp_path, refused):
    damage, sentence = ADAPTERS[form]
    folder = shutil.copytree(whole, tmp_path / "adapter")
    damage(folder)
    refused(folder, sentence)


@pytest.mark.parametrize("model", OTHERS)
def test_adapters_of_other_models_are_refused(model, tiny_model, make_adapter, tmp_path, refused):
    from transformers import AutoModelForCausalLM, LlamaConfig

    changes, sentence = OTHERS[model]
    config = LlamaConfig.from_pretrained(tiny_model)
    config.update(changes)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "other")
    folder = make_adapter(tmp_path / "other", 1)
    refused(folder, f"{sentence}.* It was trained on '{tmp_path / 'other'}'")


LAYER = "model.layers.1.mlp.up_proj.weight"


def sharded(change):
    """Damage to a base of several files: `change(folder, index)`; the index maps tensors to files."""

    def damage(folder):
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="40KB")
        file = folder / "model.safetensors.index.json"
        index = json.loads(file.read_text())
        assert len(set(index["weight_map"].values())) > 2
        change(folder, index["weight_map"])
        file.write_text(json.dumps(index))

    return damage


def drop_shard(_folder, index):
    shard = index[LAYER]
    for name in [name for name, file in index.items() if file == shard]:
        del index[name]
    (_folder / shard).unlink()


BASES = {
    "a tensor is missing": (in_file(without(LAYER)), f"lacks the tensor {LAYER}"),
    "a layer is missing": (in_file(without("layers.1.")), "lacks 9 tensors, such as model.layers.1"),
    "the output layer is missing": (in_file(without("lm_head")), "lacks the tensor lm_head.weight"),
    "the embeddings are missing": (in_file(without("embed_tokens")), "lacks the tensor model.embed_tokens.weight"),
    "a tensor is renamed": (in_file(renamed("up_proj", "up")), "lacks 2 tensors, such as .*up_proj"),
    "all tensors are renamed": (in_file(renamed("model.layers", "model.h")), "lacks 18 tensors"),
    "a layer is too many": (
        in_file(beside(LAYER.replace(".1.", ".2."), LAYER)),
        "does not use the tensor .*layers.2",
    ),
    "a bias is too many": (
        in_file(beside("model.layers.0.self_attn.q_proj.bias", "model.norm.weight")),
        "does not use the tensor .*q_proj.bias",
    ),
    "the configuration is deeper": (in_config(num_hidden_layers=3), "lacks 9 tensors"),
    "the configuration is shallower": (in_config(num_hidden_layers=1), "does not use 9 tensors"),
    "the configuration is wider": (
        in_config(intermediate_size=96),
        r"has a tensor of the wrong shape: .* is \[.*\], expected \[.*\]",
    ),
    "the vocabulary is another": (in_config(vocab_size=99), "has a tensor of the wrong shape: "),
    "a number is NaN": (in_file(put(LAYER, "nan")), f"NaN or infinite numbers in {LAYER}"),
    "a number is infinite": (in_file(put("lm_head.weight", "inf")), "NaN or infinite numbers in lm_head.weight"),
    "the file is cut": (cut, "Cannot load"),
    "the file is a text": (in_text("model.safetensors", "version https://git-lfs"), "Cannot load"),
    "the architecture is unknown": (in_config(model_type="llama9", architectures=None), "Cannot use the configuration"),
    "a file of several is missing": (
        sharded(lambda folder, index: (folder / index[LAYER]).unlink()),
        "Cannot load",
    ),
    "a file of several is not in the index": (sharded(drop_shard), "lacks .*tensor"),
}


@pytest.mark.parametrize("form", BASES)
@pytest.mark.filterwarnings("ignore:Skipping")
def test_damaged_bases_are_refused(form, tiny_model, tmp_path):
    from kdprobe.models.shared_bases import SharedBases

    damage, sentence = BASES[form]
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    damage(folder)
    with pytest.raises(KdprobeError, match=sentence) as caught:
        SharedBases().base(resolve(str(folder)))
    assert caught.value.message.count("\n") == 0


def test_whole_adapters_and_bases_are_not(torch, tiny_model, tiny_record, make_adapter, tmp_path):
    """The same places accept the undamaged files, and weights split over several files."""
    from kdprobe.models.load import load

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    sharded(lambda _folder, _index: None)(folder)
    one, several = load(tiny_record).model.state_dict(), load(resolve(str(folder))).model.state_dict()
    assert all(torch.equal(one[name], several[name]) for name in one)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float8_e4m3fn", "float64"])
@pytest.mark.parametrize("place", [0, 1234, -1])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(dtype, place, torch):
    from kdprobe.models.weights import not_finite

    whole = torch.randn(40, 50).to(getattr(torch, dtype))
    others = {"ids": torch.arange(3), "mask": torch.tensor([True]), "empty": torch.empty(0)}
    assert not_finite([*others.items(), ("whole", whole)]) is None
    for value in ("nan", "inf", "-inf"):
        broken = whole.float().clone()
        broken.view(-1)[place] = float(value)
        broken = broken.to(whole.dtype)
        if not broken.float().isfinite().all():  # Some types have no infinity.
            assert not_finite([("whole", whole), ("broken", broken)]) == "broken"
