"""What an adapter may bring along: more tokens, the name of its base, an id on the Hub instead of a folder."""

import dataclasses
import json
import shutil

import pytest

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models.reference import resolve

IDS = [7, 5, 400, 1, 401, 17, 33, 400]


@pytest.fixture(scope="module")
def resized(torch, tmp_path_factory):
    """Writes an adapter that was trained after two tokens were added; returns it and the model's logits."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def write(model, **saved):
        folder = tmp_path_factory.mktemp("resized") / "adapter"
        tokenizer = AutoTokenizer.from_pretrained(model)
        tokenizer.add_tokens(["<think>", "</think>"])
        base = AutoModelForCausalLM.from_pretrained(model)
        base.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        torch.manual_seed(5)
        trained = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], **saved))
        with torch.no_grad():
            base.get_input_embeddings().weight.add_(torch.randn(len(tokenizer), 32), alpha=0.1)
            for weight in trained.parameters():
                if weight.requires_grad:
                    weight.add_(torch.randn_like(weight), alpha=0.2)
        with pytest.warns(UserWarning, match="embedding"):
            trained.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder, logits(torch, trained.eval())

    return write


def logits(torch, model):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([IDS])).logits


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings", "ignore:Could not identify")
@pytest.mark.parametrize("tied", [False, True])
def test_more_tokens_come_with_their_embeddings_and_their_tokenizer(
    torch, tied, tiny_model, tied_model, resized, problems, run_cli, problem_files, tmp_path
):
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.students.export import export
    from kdprobe.students.student import Student

    model = tied_model if tied else tiny_model
    folder, expected = resized(model)
    record, bases = resolve(str(model)), SharedBases()
    before = {name: weight.clone() for name, weight in bases.base(record).model.state_dict().items()}
    student = Student("student", record, folder)
    for loaded in (bases.student(record, folder), student.load()):
        torch.testing.assert_close(logits(torch, loaded.model), expected, atol=1e-4, rtol=1e-4)
        assert loaded.tokenizer.convert_tokens_to_ids(["<think>", "</think>"]) == [400, 401]
    after = bases.base(record)
    assert len(after.tokenizer) == after.model.config.vocab_size == 400
    assert all(torch.equal(after.model.state_dict()[name], weight) for name, weight in before.items())
    export(student, tmp_path / "out")
    exported = resolve(str(tmp_path / "out"))
    torch.testing.assert_close(logits(torch, bases.base(exported).model), expected, atol=1e-4, rtol=1e-4)
    assert len(bases.base(exported).tokenizer) == 402
    # The whole way, prompts and gold solutions included.
    common = ["--problems", problem_files[1], "--limit", 2, "--max-new-tokens", 4, "--store", tmp_path / "store"]
    run_cli("eval", model, "--adapter", folder, *common, "--out", tmp_path / "adapted.jsonl")
    run_cli("eval", tmp_path / "out", *common, "--out", tmp_path / "plain.jsonl")
    adapted, plain = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("adapted", "plain")
    )
    assert len(adapted) == 2
    assert [row["response"] for row in adapted] == [row["response"] for row in plain]
    for name in ("log_p_gold_value", "log_p_gold_solution"):
        assert [row[name] for row in adapted] == pytest.approx([row[name] for row in plain], abs=1e-4)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings", "ignore:Could not identify")
def test_a_student_is_asked_by_the_chat_template_that_it_brings(tiny_model, resized, run_cli, problem_files, tmp_path):
    from kdprobe.students.export import export
    from kdprobe.students.student import Student

    plain = shutil.copytree(tiny_model, tmp_path / "plain", ignore=shutil.ignore_patterns("chat_template.jinja"))
    folder, _ = resized(plain)
    shutil.copy(tiny_model / "chat_template.jinja", folder)
    export(Student("student", resolve(str(plain)), folder), tmp_path / "merged")
    common = ["--problems", problem_files[1], "--limit", 2, "--max-new-tokens", 4, "--store", tmp_path / "store"]

    def asked(*model):
        run_cli("eval", *model, *common, "--out", tmp_path / "answers.jsonl")
        rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
        return rows[0]["conditions"]["prompt"]["form"], [row["response"] for row in rows]

    form, answers = asked(plain, "--adapter", folder)
    assert (form, answers) == asked(tmp_path / "merged")
    assert form != asked(plain)[0] == "Question: {question}\nAnswer:"


def test_more_tokens_without_their_embeddings_or_tokenizer_are_refused(tiny_model, resized, tmp_path):
    from safetensors.torch import load_file, save_file

    from kdprobe.models.shared_bases import SharedBases

    whole, _ = resized(tiny_model)
    record, bases = resolve(str(tiny_model)), SharedBases()

    half = shutil.copytree(whole, tmp_path / "half")
    tensors = load_file(half / "adapter_model.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if "lm_head" not in name}, half / "adapter_model.safetensors"
    )
    with pytest.raises(UsageError, match=r"does not resize the input and output embeddings .* to the same size"):
        bases.student(record, half)

    stranger = shutil.copytree(whole, tmp_path / "stranger")
    vocabulary = json.loads((stranger / "tokenizer.json").read_text())
    known = vocabulary["model"]["vocab"]
    first, second = list(known)[300:302]
    known[first], known[second] = known[second], known[first]
    (stranger / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(UsageError, match=r"its folder has no tokenizer of that size"):
        bases.student(record, stranger)


def test_an_adapter_of_another_base_of_equal_shape_is_used_with_a_note(tiny_model, make_adapter, tmp_path, capsys):
    from kdprobe.models.shared_bases import SharedBases

    other = shutil.copytree(tiny_model, tmp_path / "tuned-further")
    adapter = make_adapter(tiny_model, 11)
    capsys.readouterr()
    SharedBases().student(resolve(str(tiny_model)), adapter)
    assert capsys.readouterr().err == ""
    for _ in range(2):
        SharedBases().student(resolve(str(other)), adapter)
    said = f"The adapter {adapter} was trained on '{tiny_model}' but is used on '{other}'."
    assert capsys.readouterr().err.count(said) == 1


def test_what_does_not_fit_names_another_base_only_where_it_is_another(tiny_model, make_adapter, tmp_path):
    from kdprobe.models.shared_bases import SharedBases

    adapter = make_adapter(tiny_model, 12)
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "r": 3}))
    with pytest.raises(UsageError) as caught:
        SharedBases().student(resolve(str(tiny_model)), adapter)
    assert caught.value.hint == "Its files are incomplete or damaged, or do not belong together."
    other = shutil.copytree(tiny_model, tmp_path / "other")
    with pytest.raises(UsageError) as caught:
        SharedBases().student(resolve(str(other)), adapter)
    assert caught.value.hint == f"It was trained on '{tiny_model}'."


def test_an_id_of_the_hub_is_an_adapter(tiny_model, make_adapter, tmp_path, monkeypatch):
    from huggingface_hub import constants

    from kdprobe.models.adapters import named_adapters, resolve_adapter

    made = make_adapter(tiny_model, 13)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "c" * 40
    cached = tmp_path / "models--someone--their-adapter"
    shutil.copytree(made, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    record = resolve_adapter("someone/their-adapter")
    assert record.path == cached / "snapshots" / commit
    assert record.digest == resolve_adapter(str(made)).digest
    assert list(named_adapters(["someone/their-adapter"])) == ["their-adapter"]
    with pytest.raises(KdprobeError, match="'someone/unknown' is not a local folder and could not be downloaded"):
        resolve_adapter("someone/unknown")


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings", "ignore:Could not identify")
def test_a_student_with_more_tokens_is_looked_at_with_its_own_tokenizer(tiny_model, resized, problems):
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.students.student import Student

    folder, _ = resized(tiny_model)
    record = resolve(str(tiny_model))
    base, student = Student("base", record), Student("student", record, folder)

    def looked_at(problems, **known):
        return AnalysisContext(students=[base, student], problems=problems, **known)

    assert "<think>" in student.load_tokenizer().get_vocab()
    assert "<think>" not in base.load_tokenizer().get_vocab()
    assert looked_at(problems).sequences == AnalysisContext(students=[base], problems=problems).sequences
    assert looked_at(problems).findings == []
    divergence = Host().create("analyses", "divergence", {})
    table = run_analysis("divergence", divergence, looked_at(problems[:2])).tables["jensen_shannon"]
    assert table["value"].max() > 0

    thought = [dataclasses.replace(problems[0], question=f"<think>{problems[0].question}")]
    with pytest.raises(
        UsageError, match=r"'student' and 'base' tokenise the problems differently: .* is '<think>' \(\d+\), not '<"
    ):
        _ = looked_at(thought).sequences
    assert len(AnalysisContext(students=[student], problems=thought).sequences) == 1

    template = folder / "chat_template.jinja"
    template.write_text("{{ 'Please: ' }}" + (tiny_model / "chat_template.jinja").read_text())
    (finding,) = looked_at(problems).findings
    assert "chat template of 'base'; the template of student is different" in finding.evidence
    (finding,) = looked_at(problems, template_of="student").findings
    assert "chat template of 'student'; the template of base is different" in finding.evidence


def test_a_tokenizer_beside_an_adapter_without_embeddings_of_its_own_is_not_read(tiny_model, make_adapter):
    from kdprobe.students.student import Student

    folder = make_adapter(tiny_model, 0)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / file, folder)
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    record = resolve(str(tiny_model))
    # Its merged student has the base's, too.
    student = Student("student", record, folder)
    assert student.load_tokenizer().chat_template == student.load().tokenizer.chat_template
    assert student.load().tokenizer.chat_template == Student("base", record).load_tokenizer().chat_template
