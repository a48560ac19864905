"""Adapters that are attached to one base and removed again."""

import pytest


@pytest.fixture(scope="module")
def adapters(tiny_model, make_adapter):
    """Folders of adapters of several kinds with random weights."""
    kinds = {
        "lora": {"target_modules": ["q_proj", "o_proj"]},
        "whole": {"target_modules": ["v_proj"], "modules_to_save": ["lm_head"]},
        "dora": {"target_modules": ["k_proj", "down_proj"], "use_dora": True},
        "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [1, 2, 3]},
    }
    return {
        name: make_adapter(tiny_model, seed, r=4, size=0.3, **config)
        for seed, (name, config) in enumerate(kinds.items())
    }


def logits(torch, loaded):
    ids = torch.arange(30)[None] + 5
    with torch.inference_mode():
        return loaded.model(input_ids=ids, use_cache=False).logits


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
def test_merged_students_share_a_base_that_none_of_them_changes(torch, tiny_record, adapters):
    from kdprobe.models.load import load
    from kdprobe.models.merging.merge import merge
    from kdprobe.models.shared_bases import SharedBases

    bases = SharedBases()
    base = bases.base(tiny_record)
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    untouched = logits(torch, base)
    for name, folder in adapters.items():
        expected = logits(torch, merge(load(tiny_record), folder))
        assert not torch.allclose(expected, untouched, atol=0.1), name
        student = bases.student(tiny_record, folder)
        assert torch.equal(logits(torch, student), expected), name
        assert shared(student.model, base.model) > 0, name
        for other in (base, bases.base(tiny_record)):
            after = other.model.state_dict()
            assert list(after) == list(before), name
            assert all(torch.equal(after[key], value) for key, value in before.items()), name
            assert torch.equal(logits(torch, other), untouched), name
            assert not any("peft" in type(module).__module__ for module in other.model.modules()), name


def shared(model, other):
    """How many weights two models share in memory."""
    return len({weight.data_ptr() for weight in model.parameters()} & {w.data_ptr() for w in other.parameters()})


def test_initialisations_that_change_the_base_change_no_other_student(torch, tiny_model, tiny_record, tmp_path):
    """PiSSA takes the principal components out of the base while its adapter is attached."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from kdprobe.models.merging.files import lies_beside
    from kdprobe.models.shared_bases import SharedBases

    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights="pissa")
    trained = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
    for name, weight in trained.named_parameters():
        if "lora_B" in name:
            weight.data += 0.05 * torch.randn_like(weight)
    ids = torch.arange(30)[None] + 5
    with torch.inference_mode():
        expected = trained.eval()(input_ids=ids, use_cache=False).logits
    trained.save_pretrained(tmp_path)
    assert not lies_beside(tmp_path)
    bases = SharedBases()
    untouched = logits(torch, bases.base(tiny_record))
    torch.testing.assert_close(logits(torch, bases.student(tiny_record, tmp_path)), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(logits(torch, bases.base(tiny_record)), untouched)


def test_a_base_is_loaded_once_for_every_attention(torch, tiny_record, other_families, monkeypatch):
    from kdprobe.models import shared_bases

    loaded = []
    monkeypatch.setattr(
        shared_bases, "load", lambda *a, load=shared_bases.load, **k: loaded.append(k["attention"]) or load(*a, **k)
    )
    bases = shared_bases.SharedBases()
    ids = torch.arange(10)[None] + 5
    with torch.inference_mode():
        eager = bases.base(tiny_record, attention="eager").model(ids, output_attentions=True)
        plain = bases.base(tiny_record).model(ids)
    assert eager.attentions[0].shape == (1, 4, 10, 10)
    torch.testing.assert_close(eager.logits, plain.logits, atol=1e-5, rtol=1e-5)
    assert loaded == [None]
    # Bases of one data type at a time.
    assert bases.base(tiny_record, dtype="bfloat16").model.dtype == torch.bfloat16
    assert len(loaded) == 2
    assert bases.base(tiny_record).model.dtype == torch.float32
    assert len(loaded) == 3


@pytest.mark.filterwarnings("ignore:Model ", "ignore:Setting `save_embedding_layers")
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_an_adapter_on_one_of_two_tied_layers_changes_that_one_alone(torch, tiny_model, tmp_path, target, whole):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kdprobe.models.reference import resolve
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.students.export import export
    from kdprobe.students.student import Student

    tied = AutoModelForCausalLM.from_pretrained(tiny_model, tie_word_embeddings=True)
    tied.lm_head.weight = tied.model.embed_tokens.weight
    tied.config.tie_word_embeddings = True
    tied.save_pretrained(tmp_path / "tied")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "tied")
    torch.manual_seed(4)
    trained = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tmp_path / "tied"), LoraConfig(r=4, target_modules=[target])
    )
    for name, weight in trained.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    ids = torch.arange(30)[None] + 5
    with torch.inference_mode():
        expected = trained.eval()(input_ids=ids, use_cache=False).logits
    # By default peft writes the embeddings themselves beside the adapter.
    trained.save_pretrained(tmp_path / "adapter", save_embedding_layers=whole)
    record = resolve(str(tmp_path / "tied"))
    bases = SharedBases()
    base = bases.base(record)
    assert base.model.lm_head.weight is base.model.model.embed_tokens.weight
    untouched = logits(torch, base)
    student = Student("student", record, tmp_path / "adapter")
    assert (expected - untouched).abs().max() > 0.5
    for merged in (bases.student(record, student.adapter), student.load()):
        torch.testing.assert_close(logits(torch, merged), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(logits(torch, bases.base(record)), untouched)
    export(student, tmp_path / "out")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert exported.config.tie_word_embeddings is False
    with torch.inference_mode():
        torch.testing.assert_close(exported(ids).logits, expected, atol=1e-4, rtol=1e-4)
