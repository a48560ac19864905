"""How often weights are read from disk: once per base, whatever is done with however many students."""

import pytest


@pytest.fixture
def loads(monkeypatch):
    """The folders from which models were read while the test ran."""
    from transformers import AutoModelForCausalLM

    read, real = [], AutoModelForCausalLM.from_pretrained

    def from_pretrained(folder, *arguments, **known):
        read.append(str(folder))
        return real(folder, *arguments, **known)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)
    return read


@pytest.mark.filterwarnings("ignore:unable to generate a candidate")
def test_all_analyses_of_a_run_load_one_base_once(analysis_context, make_adapter, tiny_model, tiny_record, loads):
    from dataclasses import replace

    from kdprobe.host.candidates import builtin_candidates
    from kdprobe.host.discovery import discover
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import run_analysis
    from kdprobe.students.pool import StudentPool
    from kdprobe.students.student import Student

    biased = Student("biased", tiny_record, make_adapter(tiny_model, 7, init_lora_weights="pissa"))
    tuned = Student("again", tiny_record, make_adapter(tiny_model, 8))
    students = [*analysis_context.students, biased, tuned]
    records = dict.fromkeys((student.name for student in students), analysis_context.records["untrained"])
    context = replace(analysis_context, students=students, records=records, pool=StudentPool())
    loads.clear()  # what making the adapters took
    host = Host(discover(builtin_candidates()))
    options = {
        "ablation": {"problems": 2, "exact": 2, "together": 1, "random_sets": 1, "accuracy": True, "max_new_tokens": 4},
        "patching": {"problems": 2, "exact": 2, "together": 1, "random_sets": 0},
        "attribution": {"problems": 2},
        "shapley": {"problems": 1, "orders": 2},
        "attention": {"heads": [[0, 1]]},
    }
    for name in host.names("analyses"):
        run_analysis(name, host.create("analyses", name, options.get(name)), context)
    assert loads == [str(tiny_model)]


def test_the_students_of_an_experiment_are_evaluated_and_analysed_on_one_base(tiny_model, tiny_config, tmp_path, loads):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.store import Store
    from kdprobe.host.registry import Host

    host = Host()
    config = tiny_config(tiny_model, extra='analyses = ["heads", "geometry", "divergence"]')
    plan, store = make_plan(load_experiment(config, host), host), Store(tmp_path / "store")
    store.prepare()
    before = 0
    for stage in plan.stages:
        store.make(stage)
        before = before if stage.kind in {"evaluate", "analyse"} else len(loads)
    kinds = [stage.kind for stage in plan.stages]
    assert kinds.count("evaluate") == 4
    assert kinds.count("analyse") == 3
    assert loads[before:] == [str(tiny_model)]
    plan.context.pool.clear()


def test_all_analyses_of_a_run_tokenise_the_problems_once(analysis_context, monkeypatch):
    from dataclasses import replace

    from transformers import AutoTokenizer

    from kdprobe.students.pool import StudentPool

    read, real = [], AutoTokenizer.from_pretrained
    monkeypatch.setattr(
        AutoTokenizer, "from_pretrained", lambda *given, **known: read.append(1) or real(*given, **known)
    )
    pool = StudentPool()
    contexts = [replace(analysis_context, pool=pool) for _ in range(3)]
    assert contexts[0].sequences == contexts[1].sequences == contexts[2].sequences
    assert len(read) == 1
    fewer = replace(analysis_context, pool=pool, problems=analysis_context.problems[:1])
    assert fewer.sequences == contexts[0].sequences[:1]
    assert replace(analysis_context, pool=StudentPool()).sequences == contexts[0].sequences
    assert len(read) == 3


@pytest.mark.parametrize("architecture", ["gemma2", "gpt_oss", "llama"])
def test_attention_is_what_transformers_chooses_unless_patterns_are_wanted(architecture, model_of):
    from transformers import AutoModelForCausalLM

    from kdprobe.models.load import load
    from kdprobe.models.shared_bases import SharedBases

    def implementation(loaded):
        return loaded.model.config._attn_implementation

    record = model_of(architecture)
    chosen = AutoModelForCausalLM.from_pretrained(record.path).config._attn_implementation
    bases = SharedBases()
    assert implementation(bases.base(record, attention="eager")) == "eager"
    expected = "eager" if architecture == "gemma2" else chosen
    assert implementation(bases.base(record)) == implementation(load(record)) == expected


def test_capped_attention_is_not_left_to_a_kernel_without_caps(torch, model_of, monkeypatch):
    from transformers import AutoModelForCausalLM
    from transformers.models.gemma2.modeling_gemma2 import Gemma2PreTrainedModel

    from kdprobe.models.load import load

    record = model_of("gemma2", attn_logit_softcapping=0.5)
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        right = AutoModelForCausalLM.from_pretrained(record.path, attn_implementation="eager")(ids).logits
        # As in versions of transformers whose fused attention leaves the cap out; later ones refuse it.
        monkeypatch.setattr(Gemma2PreTrainedModel, "_supports_sdpa", True)
        found = load(record).model(ids).logits
    torch.testing.assert_close(found, right)
