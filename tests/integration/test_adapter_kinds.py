"""Adapters of every kind that peft makes are handled correctly everywhere, or rejected; the base is never changed."""

import json

import numpy as np
import pytest

from kdprobe.errors import KdprobeError
from kdprobe.models.reference import resolve
from spied_attention import relative_changes

ALL = ["q_proj", "k_proj", "v_proj", "o_proj"]
SQUARE = ["q_proj", "o_proj"]
"""Targets in the form that some kinds require."""
IDS = [[7, 5, 90, 1, 301, 17, 33, 8], [12, 44, 6]]

LORA = {
    "lora": {"target_modules": ALL},
    "rslora": {"target_modules": ALL, "use_rslora": True},
    "dora": {"target_modules": ALL, "use_dora": True},
    "patterns": {"target_modules": ALL, "rank_pattern": {"q_proj": 3}, "alpha_pattern": {"layers.1.*v_proj": 9}},
    "all linear": {"target_modules": "all-linear"},
    "expression": {"target_modules": r".*\.1\..*(q|v)_proj"},
    "some layers": {"target_modules": ALL, "layers_to_transform": [1]},
    "biases": {"target_modules": ALL, "bias": "all"},
    "biases of factors": {"target_modules": ALL, "lora_bias": True},
    "saved": {"target_modules": ["v_proj"], "modules_to_save": ["q_proj", "input_layernorm"]},
    "saved output": {"target_modules": ALL, "modules_to_save": ["lm_head"]},
    "saved embeddings": {"target_modules": ALL, "modules_to_save": ["embed_tokens"]},
    "tokens": {"target_modules": ALL, "trainable_token_indices": [5, 7]},
    "output": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "embeddings tied": {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
    "pissa": {"target_modules": ALL, "init_lora_weights": "pissa"},
    "olora": {"target_modules": ALL, "init_lora_weights": "olora"},
    "eva": {"target_modules": ALL, "init_lora_weights": "eva"},
    "orthogonal": {"target_modules": ALL, "init_lora_weights": "orthogonal", "r": 4},
}
OTHERS = {
    "ia3": ("IA3Config", {"target_modules": [*ALL, "down_proj"], "feedforward_modules": ["down_proj"]}),
    "loha": ("LoHaConfig", {"target_modules": ALL, "r": 2}),
    "lokr": ("LoKrConfig", {"target_modules": ALL, "r": 2}),
    "oft": ("OFTConfig", {"target_modules": ALL, "oft_block_size": 4, "r": 0}),
    "boft": ("BOFTConfig", {"target_modules": ALL, "boft_block_size": 4}),
    "hra": ("HRAConfig", {"target_modules": ALL, "r": 2}),
    "vera": ("VeraConfig", {"target_modules": SQUARE, "r": 4}),
    "fourierft": ("FourierFTConfig", {"target_modules": ALL, "n_frequency": 20, "scaling": 30.0}),
    "adalora": ("AdaLoraConfig", {"target_modules": ALL, "init_r": 3, "total_step": 9, "tinit": 1, "tfinal": 1}),
    "vblora": ("VBLoRAConfig", {"target_modules": SQUARE, "r": 2, "vector_length": 8, "num_vectors": 8}),
    "randlora": ("RandLoraConfig", {"target_modules": SQUARE, "r": 4}),
    "c3a": ("C3AConfig", {"target_modules": ALL, "block_size": 8}),
    "miss": ("MissConfig", {"target_modules": ALL, "r": 4}),
    "norms": ("LNTuningConfig", {"target_modules": ["input_layernorm", "norm"]}),
    "tokens alone": ("TrainableTokensConfig", {"target_modules": ["embed_tokens"], "token_indices": [5, 7]}),
}
TIED = ["lora", "tokens", "tokens alone", "output", "embeddings", "embeddings tied", "saved output", "saved embeddings"]
SLICE = {"dora", "patterns", "biases of factors", "saved", "tokens", "pissa", "ia3", "loha", "adalora", "output-tied"}
"""Kinds that are tried in every test run; `make matrix` tries all."""
NOT_EXPORTED = {
    "biases of factors": "cannot be written as a plain model.* does not use 8 tensors, such as .*k_proj.bias"
}
"""Kinds whose merged weights have no place in the architecture."""
REFUSED = {
    "prompt": ("PromptTuningConfig", {"num_virtual_tokens": 2}, "virtual tokens cannot be merged"),
    "prefix": ("PrefixTuningConfig", {"num_virtual_tokens": 2}, "virtual tokens cannot be merged"),
    "encoder": ("PromptEncoderConfig", {"num_virtual_tokens": 2}, "virtual tokens cannot be merged"),
    "adaption": ("AdaptionPromptConfig", {"adapter_layers": 1, "adapter_len": 2}, "cannot be merged|does not fit"),
    "activated": ("LoraConfig", {"target_modules": ALL, "alora_invocation_tokens": [5]}, "an activated LoRA"),
    "drawn": ("LoraConfig", {"target_modules": ALL, "init_lora_weights": "pissa_niter_4"}, "cannot be reconstructed"),
    "repeated layers": (
        "LoraConfig",
        {"target_modules": ALL, "layer_replication": [[0, 2], [1, 2]]},
        "does not give the same student as attaching it",
    ),
}

# What peft says while the test makes its adapters.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tied_record(tied_model):
    """The tiny model with its output layer tied to the embeddings."""
    return resolve(str(tied_model))


@pytest.fixture(scope="module")
def make(torch, tmp_path_factory):
    """Writes an adapter with all weights changed at random; returns its folder and the trained model."""
    import peft
    from transformers import AutoModelForCausalLM

    def write(record, name, settings):
        model = AutoModelForCausalLM.from_pretrained(record.path, attn_implementation="eager")
        torch.manual_seed(3)
        trained = peft.get_peft_model(model, getattr(peft, name)(**settings, task_type="CAUSAL_LM"))
        with torch.no_grad():
            for weight in trained.parameters():
                if weight.requires_grad:
                    weight.add_(torch.randn_like(weight), alpha=0.2)
        folder = tmp_path_factory.mktemp("adapter") / name
        trained.save_pretrained(folder)
        return folder, trained.eval()

    return write


@pytest.fixture(scope="module")
def left_as_it_was(torch, make):
    """The pool of a base; after each kind, the base's weights and a plain adapter's logits must be unchanged."""
    from kdprobe.students.pool import StudentPool

    known = {}

    def check(record):
        if record.digest not in known:
            plain, _ = make(record, "LoraConfig", {"target_modules": ALL, "r": 3})
            pool = StudentPool()
            base = pool.bases.base(record)
            before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
            known[record.digest] = pool, plain, before, logits(torch, pool.bases.student(record, plain).model)
        pool, plain, before, expected = known[record.digest]
        after = pool.bases.base(record, dtype="float32").model
        assert list(after.state_dict()) == list(before)
        assert all(torch.equal(after.state_dict()[name], weight) for name, weight in before.items())
        assert torch.equal(logits(torch, pool.bases.student(record, plain).model), expected)
        return pool

    return check


def logits(torch, model):
    with torch.inference_mode():
        return torch.cat([model(input_ids=torch.tensor([ids])).logits[0] for ids in IDS])


def patching(students, problems, pool):
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis

    context = AnalysisContext(students=students, problems=problems[:1], pool=pool)
    options = {"problems": 1, "exact": 2, "together": 1, "random_sets": 0, "into": ["first"]}
    table = run_analysis("patching", Host().create("analyses", "patching", options), context).tables["patching"]
    return table.select_dtypes("number").to_numpy()


def cases():
    every = {**{kind: ("LoraConfig", {"r": 2, **settings}) for kind, settings in LORA.items()}, **OTHERS}
    found = [(kind, *every[kind], False) for kind in every] + [(kind, *every[kind], True) for kind in TIED]
    for case in found:
        name = f"{case[0]}{'-tied' * case[3]}"
        yield pytest.param(*case, id=name, marks=() if name in SLICE else pytest.mark.matrix)


@pytest.mark.parametrize(("kind", "name", "settings", "tied"), cases())
def test_every_kind_is_right_everywhere(
    torch, kind, name, settings, tied, tiny_record, tied_record, make, left_as_it_was, problems, tmp_path
):
    from transformers import AutoModelForCausalLM

    from kdprobe.probing.patterns.stream import read
    from kdprobe.probing.weights.geometry import circuit_changes
    from kdprobe.students.export import export
    from kdprobe.students.student import Student

    record = tied_record if tied else tiny_record
    pool = left_as_it_was(record)
    folder, trained = make(record, name, settings)
    expected = logits(torch, trained)
    base, student = Student("base", record), Student("trained", record, folder)
    assert (logits(torch, pool.bases.base(record).model) - expected).abs().max() > 0.05
    # Evaluation, and what exports and teachers load.
    for loaded in (pool.loaded(student), student.load()):
        torch.testing.assert_close(logits(torch, loaded.model), expected, atol=1e-4, rtol=1e-4)
    # Heads.
    bridged = pool.bridges([base, student], IDS).boot("trained")
    patterns = []
    read(bridged, [IDS[0]], lambda _row, _layer, pattern: patterns.append(pattern.numpy().copy()))
    with torch.inference_mode():
        attentions = trained(torch.tensor([IDS[0]]), output_attentions=True).attentions
    np.testing.assert_allclose(np.stack(patterns), torch.cat(attentions).numpy(), atol=1e-5)
    # Export, and patching from what was exported.
    whole = trained
    if kind in NOT_EXPORTED:
        with pytest.raises(KdprobeError, match=NOT_EXPORTED[kind]):
            export(student, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    else:
        export(student, tmp_path / "out")
        whole = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
        torch.testing.assert_close(logits(torch, whole), expected, atol=1e-4, rtol=1e-4)
        others = (student, Student("whole", resolve(str(tmp_path / "out"))))
        np.testing.assert_allclose(*(patching([base, other], problems, pool) for other in others), atol=1e-4)
    # Geometry.
    untrained, table = AutoModelForCausalLM.from_pretrained(record.path), circuit_changes([base, student], pool).table
    for circuit, values in relative_changes(untrained, whole).items():
        rows = table[table["circuit"] == circuit].sort_values(["layer", "head"])
        np.testing.assert_allclose(rows["relative"], values, rtol=1e-4, atol=1e-6)
    left_as_it_was(record)


@pytest.mark.parametrize("kind", REFUSED)
def test_kinds_that_cannot_be_merged_are_refused_everywhere(
    kind, tiny_record, make, left_as_it_was, problems, tmp_path
):
    from kdprobe.probing.weights.geometry import circuit_changes
    from kdprobe.students.export import export
    from kdprobe.students.student import Student

    name, settings, sentence = REFUSED[kind]
    pool = left_as_it_was(tiny_record)
    folder, _ = make(tiny_record, name, settings)
    base, student = Student("base", tiny_record), Student("trained", tiny_record, folder)
    for door in (
        lambda: pool.loaded(student),
        lambda: pool.bridges([base, student], IDS).boot("trained"),
        lambda: circuit_changes([base, student], pool),
        lambda: patching([base, student], problems, pool),
        lambda: export(student, tmp_path / "out"),
    ):
        with pytest.raises(KdprobeError, match=sentence) as caught:
            door()
        assert "\n" not in caught.value.message
    assert not (tmp_path / "out").exists()
    left_as_it_was(tiny_record)


def test_quantised_beginnings_are_refused_where_their_library_is_missing(tiny_record, make, left_as_it_was):
    folder, _ = make(tiny_record, "LoraConfig", {"target_modules": ALL})
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "init_lora_weights": "loftq"}))
    with pytest.raises(KdprobeError, match="loftq"):
        left_as_it_was(tiny_record).bases.student(tiny_record, folder)
    left_as_it_was(tiny_record)


def test_students_of_two_kinds_stand_beside_each_other_on_one_base(torch, tiny_record, make, left_as_it_was):
    from kdprobe.probing.patterns.stream import read
    from kdprobe.students.student import Student

    pool = left_as_it_was(tiny_record)
    kinds = {"lora": ("LoraConfig", LORA["lora"]), "ia3": OTHERS["ia3"], "tokens": ("LoraConfig", LORA["tokens"])}
    made = {kind: make(tiny_record, *kinds[kind]) for kind in kinds}
    students = [Student("base", tiny_record), *(Student(kind, tiny_record, made[kind][0]) for kind in made)]
    bridges = pool.bridges(students, IDS)
    for kind in ("ia3", "lora", "tokens", "ia3", "lora"):
        patterns = []
        read(bridges.boot(kind), [IDS[0]], lambda _row, _layer, pattern, seen=patterns: seen.append(pattern.clone()))
        with torch.inference_mode():
            attentions = made[kind][1](torch.tensor([IDS[0]]), output_attentions=True).attentions
        torch.testing.assert_close(torch.stack(patterns), torch.cat(attentions), atol=1e-5, rtol=0)
