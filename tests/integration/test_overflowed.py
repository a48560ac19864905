"""A trained student that overflows only when it is examined is a result: the run continues and does not repeat it."""

import json

import pytest

RATE = "learning_rate = 1e-2"
REASON = "overflowed during evaluation: The model's logits for a sample conversation are NaN or infinite in float16."


@pytest.fixture(scope="module")
def done(tiny_config, tiny_model, run_cli, tmp_path_factory):
    """A run whose fine-tuned student learns in float32 what float16 cannot hold."""
    config = tiny_config(tiny_model, extra='\nanalyses = ["geometry", "confidence"]\n')
    head, options, rest = config.read_text().partition("fine_tune_options")
    head = head.replace("[student]\n", '[student]\ndtype = "float16"\n')
    head = head.replace("[distill]\n", '[distill]\ndtype = "float32"\n')
    config.write_text(head + options + rest.replace(RATE, "learning_rate = 1e3", 1))
    store = tmp_path_factory.mktemp("store")
    return config, store, json.loads(run_cli("run", config, "--store", store, "--json"))


def test_the_run_goes_on_with_the_other_arms(done):
    _, _, data = done
    assert [arm["name"] for arm in data["arms"]] == ["untrained", "unprimed", "teacher"]
    pairs = ["unprimed - fine-tuned", "teacher - fine-tuned"]
    assert data["absent"] == [{"name": "fine-tuned", "reason": REASON, "pairs": pairs}]
    finding = next(finding for finding in data["findings"] if finding["code"] == "overflowed")
    assert finding["evidence"] == f"fine-tuned {REASON}"
    assert "another data type" in finding["action"]


def test_a_later_run_asks_nobody_again(done, run_cli):
    config, store, data = done
    before = {file: file.stat().st_mtime_ns for file in (store / "stages").rglob("*") if file.is_file()}
    assert json.loads(run_cli("run", config, "--store", store, "--json")) == data
    assert {file: file.stat().st_mtime_ns for file in (store / "stages").rglob("*") if file.is_file()} == before


def test_only_arms_with_answers_have_a_table_of_them(done):
    import kdprobe

    _, store, data = done
    run = kdprobe.load_run(data["run"], store=store, progress=False)
    assert list(run.answers) == ["untrained", "unprimed", "teacher"]
    # It was trained, so it can still be loaded and looked at.
    assert run.students["fine-tuned"].adapter is not None


def test_page_and_tables_name_the_arm(done, run_cli):
    _, store, data = done
    assert f"fine-tuned {REASON}" in " ".join(run_cli("report", "--store", store).split())
    assert f"fine-tuned {REASON}" in (store / "runs" / data["run"] / "report.html").read_text().replace("&#39;", "'")
    assert "fine-tuned without answers" in run_cli("runs", "--store", store)


def test_an_analysis_that_needs_the_answers_leaves_the_student_out(done):
    _, _, data = done
    said = {name: analysis["statements"] for name, analysis in data["analyses"].items()}
    assert said["confidence"][0] == f"fine-tuned is excluded: it {REASON}"
    assert not any("excluded" in sentence for sentence in said["geometry"])
    assert any(sentence.startswith("fine-tuned: training changed the QK circuit by ") for sentence in said["geometry"])


def test_an_analysis_that_overflows_is_a_result(done, run_cli, tmp_path, monkeypatch):
    from kdprobe.errors import NonFiniteError
    from kdprobe.probing import analysis

    def overflow(*_):
        raise NonFiniteError("The attention of a layer is NaN or infinite.")

    config, store, _ = done
    other = tmp_path / "other.toml"
    other.write_text(config.read_text().replace('"geometry", "confidence"', '"divergence"'))
    with monkeypatch.context() as patched:
        patched.setattr(analysis, "run_analysis", overflow)
        data = json.loads(run_cli("run", other, "--store", store, "--json"))
    (sentence,) = data["analyses"]["divergence"]["statements"]
    assert sentence.startswith("These students cannot be analysed: The attention of a layer is NaN or infinite.")
    assert json.loads(run_cli("run", other, "--store", store, "--json")) == data
