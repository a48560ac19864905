"""`kdprobe eval`: models and adapters outside experiments."""

import gc
import json
import shutil
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from pages import data_of, text_of


@pytest.fixture(scope="module")
def adapters(distil):
    return [distil("logits", epochs=3).adapter, distil("fine-tune", epochs=3).adapter]


@pytest.fixture
def evaluate(tmp_path, problem_files, tiny_model, run_cli):
    """Runs `kdprobe eval` on the tiny model; returns scores."""

    def run(*arguments, model=tiny_model, source=problem_files[1]):
        told = ["eval", model, "--problems", source, "--max-new-tokens", 12, "--store", tmp_path / "store", "--json"]
        return json.loads(run_cli(*told, *arguments))

    return run


def records(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def without(rows, *names):
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def test_a_page_is_written_beside_the_records_of_a_folder(problem_files, tiny_model, tmp_path):
    import kdprobe

    asked = {"problems": problem_files[1], "max_new_tokens": 12, "store": tmp_path / "store", "progress": False}
    result = kdprobe.evaluate(str(tiny_model), **asked, extractor="all", out=tmp_path / "out")
    assert result.page == tmp_path / "out" / "eval.html"
    page = result.page.read_text(encoding="utf-8")
    correct = result.scores.set_index("extractor")["correct"]["robust"]
    assert f"How many problems does this model solve? tiny solves {correct} of 6 problems: " in text_of(page)
    assert "Paired differences" not in text_of(page)
    shown = data_of(page)
    assert [problem["question"] for problem in shown["answers"]["problems"]] == result.records["tiny"][
        "question"
    ].tolist()
    assert sum(answer["right"] for answer in shown["answers"]["arms"][0]) == correct
    assert shown["baselines"] == []
    one = kdprobe.evaluate(str(tiny_model), **asked, out=tmp_path / "one" / "out.jsonl")
    assert one.page is None
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["out.jsonl"]


def test_records_are_those_of_an_experiments_evaluation(evaluate, tmp_path, torch, tiny_record, problem_rows):
    """Against the shared code below the command, and each answer against `generate` on its prompt alone."""
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load
    from kdprobe.strategies.prompt_pair import bare

    (score,) = evaluate("--batch-size", 4, "--out", tmp_path / "out.jsonl")
    rows = records(tmp_path / "out.jsonl")
    assert (score["n"], score["file"]) == (6, str(tmp_path / "out.jsonl"))
    assert [row["id"] for row in rows] == [f"test-{n}" for n in range(1, 7)]
    assert [row["question"] for row in rows] == [row["question"] for row in problem_rows(50, 6)]
    loaded = load(tiny_record)
    from kdprobe.problems.problem import Problem

    for row, problem in zip(rows, problem_rows(50, 6), strict=True):
        ids = prompt_ids(loaded.tokenizer, bare(Problem.from_gsm8k("x", problem)))
        alone = loaded.model.generate(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=sorted(loaded.eos_ids),
            pad_token_id=loaded.tokenizer.pad_token_id,
        )[0, len(ids) :]
        ended = int(alone[-1]) in loaded.eos_ids
        assert row["response"] == loaded.tokenizer.decode(alone, skip_special_tokens=True)
        assert (row["tokens"], row["cut_off"]) == (len(alone), not ended)
    assert score["log_p_gold_value"] == pytest.approx(sum(row["log_p_gold_value"] for row in rows) / 6)
    per_token = [row["log_p_gold_solution"] / row["gold_tokens"] for row in rows]
    assert score["log_p_gold_solution"] == pytest.approx(sum(per_token) / 6)


def test_adapters_share_a_base_and_answer_as_merged(evaluate, adapters, tmp_path, tiny_model, monkeypatch, capfd):
    from kdprobe.models import load, shared_bases
    from kdprobe.models.merging.merge import merge

    loads, real = [], load.load
    monkeypatch.setattr(shared_bases, "load", lambda record, **known: loads.append(record) or real(record, **known))
    given = [word for adapter in adapters for word in ("--adapter", adapter)]
    scores = evaluate(*given, "--with-base", "--out", tmp_path / "out", "--dtype", "float32")
    assert len(loads) == 1
    assert len(scores) == 3
    files = {file.stem: file for file in (tmp_path / "out").glob("*.jsonl")}
    assert "tiny" in files
    assert len(files) == 3
    page = (tmp_path / "out" / "eval.html").read_text(encoding="utf-8")
    shown = data_of(page)
    assert [row["solved"] for row in shown["accuracies"]] == [f"{score['correct']} of 6" for score in scores]
    (baseline,) = shown["baselines"]
    names = [score["name"] for score in scores]
    assert [baseline["label"], *(row["arm"] for row in baseline["rows"])] == names
    for name, answers in zip(names, shown["answers"]["arms"], strict=True):
        rows = records(files[name.replace("/", "-")])
        assert [answer["right"] for answer in answers] == [bool(row["correct"]) for row in rows]
    assert "Model tiny Problem source test.jsonl Decoding greedy, at most 12 tokens" in text_of(page)
    monkeypatch.undo()
    alone = {}
    for adapter in adapters:
        merged = merge(load.load(load_record(tiny_model)), adapter)
        merged.model.save_pretrained(tmp_path / f"merged-{adapter.parent.name}")
        merged.tokenizer.save_pretrained(tmp_path / f"merged-{adapter.parent.name}")
        evaluate("--out", tmp_path / "alone.jsonl", model=tmp_path / f"merged-{adapter.parent.name}")
        alone[f"{adapter.parent.name}-adapter"] = records(tmp_path / "alone.jsonl")
    for name, rows in alone.items():
        together = records(files[name])
        assert without(together, "log_p_gold_value", "log_p_gold_solution") == without(
            rows, "log_p_gold_value", "log_p_gold_solution"
        )
        for one, other in zip(together, rows, strict=True):
            assert one["log_p_gold_value"] == pytest.approx(other["log_p_gold_value"], abs=1e-4)
    assert records(files["tiny"]) != records(files[next(iter(alone))])
    # Whichever comes first: nothing of another adapter is left behind.
    other = ("--store", tmp_path / "other", "--dtype", "float32")
    evaluate("--adapter", adapters[1], "--out", tmp_path / "last.jsonl", *other)
    assert records(tmp_path / "last.jsonl") == records(files[f"{adapters[1].parent.name}-adapter"])


@pytest.mark.parametrize(
    "names",
    [("a+b", "a-b"), ("a b", "a-b"), ("A", "a"), ("a.", "a"), ("é", "e\u0301"), (".",), ("..",), ("+",), ("tiny",)],
)
def test_names_that_make_one_file_name_or_none_are_refused(
    names, make_adapter, tiny_model, tmp_path, problem_files, capsys
):
    from kdprobe.cli import _run

    given = [word for name in names for word in ("--adapter", f"{name}={make_adapter(tiny_model, 1)}")]
    told = ["eval", tiny_model, *given, "--problems", problem_files[1], "--out", tmp_path / "out", "--with-base"]
    if names == ("tiny",):
        # The base has the name, but for the slashes of its path.
        told[-1:] = [
            "--adapter",
            f"{str(tiny_model).strip('/').replace('/', '+')}={make_adapter(tiny_model, 2)}",
            "--with-base",
        ]
    assert _run([str(word) for word in [*told, "--store", tmp_path / "store"]]) == 2
    err = capsys.readouterr().err
    assert "same file" in err if len(names) == 2 or names == ("tiny",) else "cannot be used as a file name" in err
    assert not (tmp_path / "out").exists()


def test_scores_are_those_of_the_stores_own_records(evaluate, tmp_path, make_adapter, tiny_model):
    names = {"first": 1, "second": 2}
    given = [word for name, seed in names.items() for word in ("--adapter", f"{name}={make_adapter(tiny_model, seed)}")]
    copied = evaluate(*given, "--out", tmp_path / "out")
    kept = evaluate(*given)
    assert [score["file"] for score in copied] == [str(tmp_path / "out" / f"{name}.jsonl") for name in names]
    assert all(score["file"].endswith("records.parquet") for score in kept)
    assert [{**score, "file": None} for score in copied] == [{**score, "file": None} for score in kept]
    assert copied[0]["log_p_gold_value"] != copied[1]["log_p_gold_value"]


def load_record(folder):
    from kdprobe.models.reference import resolve

    return resolve(str(folder))


class Killed(BaseException):
    """Like a kill, it passes through everything that catches errors."""


@pytest.mark.parametrize("sampling", [(), ("--temperature", 0.8, "--top-p", 0.9)])
@pytest.mark.parametrize("after", [1, 2])
def test_a_killed_evaluation_goes_on_to_the_same_records(after, sampling, evaluate, tmp_path, monkeypatch, capsys):
    from kdprobe.evaluation.ledger import Ledger
    from kdprobe.evaluation.recording import RecordingModel

    arguments = ("--batch-size", 2, *sampling)
    decoded = []
    real = RecordingModel._model_generate

    def generate(self, context, max_length, stop, **known):
        if len(decoded) == after:
            raise Killed
        decoded.append(len(context))
        return real(self, context, max_length, stop, **known)

    monkeypatch.setattr(RecordingModel, "_model_generate", generate)
    with pytest.raises(Killed):
        evaluate(*arguments)
    monkeypatch.undo()
    (kept,) = (tmp_path / "store" / "making").glob("*.scratch/answers.jsonl")
    assert len(Ledger(kept)) == 1 + 2 * after
    # A batch is there as a whole or not at all: a line each, after the plan's.
    assert [len(json.loads(line.partition(" ")[2])) for line in kept.read_text().splitlines()] == [1, *[2] * after]
    again = []

    def count(self, context, max_length, stop, **known):
        again.append(len(context))
        return real(self, context, max_length, stop, **known)

    monkeypatch.setattr(RecordingModel, "_model_generate", count)
    evaluate(*arguments, "--out", tmp_path / "resumed.jsonl")
    assert again == [2] * (3 - after)
    assert f"{2 * after} of 6 answers already saved" in capsys.readouterr().err
    evaluate(*arguments, "--out", tmp_path / "whole.jsonl", "--store", tmp_path / "other")
    assert records(tmp_path / "resumed.jsonl") == records(tmp_path / "whole.jsonl")
    # A third time nothing is asked.
    again.clear()
    evaluate(*arguments)
    assert again == []
    assert "all answers are already in the store" in capsys.readouterr().err


def test_an_evaluation_starts_no_other_program(evaluate, monkeypatch):
    """lm-eval asks pip and others what is installed, but works without an answer."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **named):
            started.append(arguments)
            super().__init__(*arguments, **named)

    monkeypatch.setattr("subprocess.Popen", Popen)
    evaluate()
    assert started == []


def test_a_kill_while_gold_solutions_are_read_repeats_neither(evaluate, tmp_path, monkeypatch):
    from kdprobe.evaluation.engines import builtin
    from kdprobe.evaluation.recording import RecordingModel

    real, padded = builtin.right_padded, []

    def pad(*arguments):
        if len(padded) == 1:
            raise Killed
        padded.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(builtin, "right_padded", pad)
    with pytest.raises(Killed):
        evaluate("--batch-size", 2)
    monkeypatch.undo()
    read = []
    monkeypatch.setattr(builtin, "right_padded", lambda *some: read.append(len(some[0])) or real(*some))
    monkeypatch.setattr(
        RecordingModel, "_model_generate", lambda *_, **__: pytest.fail("an answer was asked for again")
    )
    evaluate("--batch-size", 2, "--out", tmp_path / "resumed.jsonl")
    assert read == [2, 2]
    monkeypatch.undo()
    evaluate("--batch-size", 2, "--out", tmp_path / "whole.jsonl", "--store", tmp_path / "other")
    assert records(tmp_path / "resumed.jsonl") == records(tmp_path / "whole.jsonl")


def test_whatever_decides_the_answers_is_in_the_key(evaluate, adapters, tmp_path, tiny_model):
    ways = [(), ("--limit", 5), ("--max-new-tokens", 11), ("--temperature", 0.5), ("--seed", 1), ("--batch-size", 3)]
    ways += [("--adapter", adapter) for adapter in adapters]
    ways += [("--task", "gsm8k_kdprobe_cot"), ("--dtype", "bfloat16")]
    for count, way in enumerate(ways, start=1):
        evaluate(*way)
        assert len(list((tmp_path / "store" / "stages" / "evaluate").iterdir())) == count, way
    evaluate("--task", "gsm8k_kdprobe")
    assert len(list((tmp_path / "store" / "stages" / "evaluate").iterdir())) == len(ways)


def test_the_batch_plan_is_recorded_and_used_again(evaluate, tmp_path, monkeypatch):
    from kdprobe.evaluation import recording
    from kdprobe.evaluation.engines import builtin

    planned = []
    real = builtin.plan_batches
    monkeypatch.setattr(builtin, "plan_batches", lambda *some: planned.append(real(*some)) or planned[-1])
    monkeypatch.setattr(recording.RecordingModel, "_model_generate", lambda *_, **__: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        evaluate()
    assert [plan.size for plan in planned] == [6]
    monkeypatch.undo()
    monkeypatch.setattr(builtin, "plan_batches", lambda *_: pytest.fail("planned again"))
    assert evaluate()[0]["n"] == 6


def test_what_was_written_is_compared_and_says_how_it_was_asked_for(evaluate, tmp_path, run_cli):
    evaluate("--out", tmp_path / "a.jsonl")
    evaluate("--out", tmp_path / "b.jsonl", "--max-new-tokens", 9, "--dtype", "bfloat16")
    evaluate("--out", tmp_path / "c.jsonl", "--task", "gsm8k_kdprobe_cot", "--temperature", 0.5)

    def found(*names):
        data = json.loads(run_cli("compare", *(tmp_path / f"{name}.jsonl" for name in names), "--json"))
        assert [arm["n"] for arm in data["arms"]] == [6, 6]
        return {finding["code"]: finding["evidence"] for finding in data["findings"]}

    assert found("a", "b")["unequal-budget"] == "Token budgets differ: a 12, b 9."
    assert "dtype: float32 (a), bfloat16 (b)" in found("a", "b")["unequal-decoding"]
    assert "name: gsm8k_kdprobe (a), gsm8k_kdprobe_cot (c)" in found("a", "c")["unequal-task"]
    assert "temperature: 0.0 (a), 0.5 (c)" in found("a", "c")["unequal-decoding"]
    same = found("a", "a2") if evaluate("--out", tmp_path / "a2.jsonl") else {}
    assert not {code for code in same if code.startswith("unequal")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "gsm8k_kdprobe_cott"], "no lm-eval task 'gsm8k_kdprobe_cott'. Did you mean 'gsm8k_kdprobe_cot'"),
        (["--task", "gsm8k_kdprobe_fewshot"], "provides no few-shot examples"),
        (["--problems", "gsm-symbolic", "--option", "gsm-symbolic.templates=[6]"], "may be endless"),
        (["--problems", "gsm-symbolic", "--limit", "3", "--option", "templates"], "is not an option"),
        (["--problems", "gsm-symbolic", "--limit", "3", "--option", "gsm8k.folder=x"], "is not used here"),
        (["--problems", "gsm-symbolic", "--limit", "3", "--option", "gsm-symbolic.templates=["], "templates"),
        (["--problems", "gsm-symbolic", "--limit", "3", "--option", "gsm-symbolic.templates=[777]"], "no template 777"),
        (["--adapter", "/nowhere"], "has no adapter_config.json"),
        (["--batch-size", "0"], "must be 'auto' or a positive integer"),
        (["--model-args", "a=b"], "--model-args applies only to model types other than hf"),
        (["--model-type", "dummy", "--with-base"], "are for models that run locally"),
    ],
)
def test_wrong_use_is_told(arguments, words, tiny_model, problem_files, tmp_path, capsys):
    from kdprobe.cli import _run

    told = ["eval", str(tiny_model), "--problems", str(problem_files[1]), "--store", str(tmp_path), *arguments]
    assert _run(told) == 2
    assert words in capsys.readouterr().err


def test_what_cannot_be_had_is_told(tiny_model, problem_files, tmp_path, capsys):
    from kdprobe.cli import _run

    told = ["eval", str(tiny_model), "--problems", str(problem_files[1]), "--store", str(tmp_path)]
    assert _run([*told, "--limit", "7"]) == 1
    assert "The source has only 6 problems, but --limit is 7. Lower --limit." in capsys.readouterr().err
    assert _run([*told, "--max-new-tokens", "2048"]) == 1
    assert "The token budget of 2048 does not fit" in capsys.readouterr().err


def test_few_shot_examples_come_from_the_sources_transfer_problems(evaluate, problem_files, tmp_path, monkeypatch):
    from kdprobe.evaluation.recording import RecordingModel

    prompts = []
    real = RecordingModel._model_generate

    def generate(self, context, *rest, **known):
        prompts.extend(self.tokenizer.batch_decode(context))
        return real(self, context, *rest, **known)

    monkeypatch.setattr(RecordingModel, "_model_generate", generate)
    files = ("--option", f"jsonl.transfer={problem_files[0]}", "--option", f"jsonl.test={problem_files[1]}")
    evaluate("--task", "gsm8k_kdprobe_fewshot", *files, source="jsonl")
    assert len(prompts) == 6
    assert all(prompt.count("<|im_start|>user") == 6 for prompt in prompts)
    train = [json.loads(line)["question"] for line in problem_files[0].read_text().splitlines()]
    assert all(sum(question in prompt for question in train) >= 5 for prompt in prompts)


def test_another_prompt_than_that_of_training_is_refused(tiny_model, problem_files, tmp_path, monkeypatch, capsys):
    from kdprobe.cli import _run
    from kdprobe.evaluation import prompt_check
    from kdprobe.evaluation.engines.builtin import TransformersStudent

    # Students are trained with a system message, say, and the task has none.
    trained = [{"role": "system", "content": "Be brief."}]
    monkeypatch.setattr(TransformersStudent, "decode", lambda *_: pytest.fail("answered before the prompt was checked"))
    monkeypatch.setattr(prompt_check, "bare", lambda problem: [*trained, {"role": "user", "content": problem.question}])
    told = ["eval", str(tiny_model), "--problems", str(problem_files[1]), "--store", str(tmp_path)]
    assert _run([*told, "--max-new-tokens", "4"]) == 1
    assert "differs from the conversation that students are trained on" in capsys.readouterr().err


def test_a_model_without_a_chat_template_is_asked_as_text(evaluate, tiny_model, tmp_path, monkeypatch, capsys):
    from kdprobe.cli import _run
    from kdprobe.evaluation.recording import RecordingModel

    plain = shutil.copytree(tiny_model, tmp_path / "plain")
    (plain / "chat_template.jinja").unlink()
    prompts = []
    real = RecordingModel._model_generate

    def generate(self, context, max_length, stop, **known):
        prompts.extend(self.tokenizer.batch_decode(context, skip_special_tokens=True))
        assert "\nQuestion:" in stop
        return real(self, context, max_length, stop, **known)

    monkeypatch.setattr(RecordingModel, "_model_generate", generate)
    evaluate("--out", tmp_path / "out.jsonl", model=plain)
    assert all(prompt.startswith("Question: Tom has") and prompt.endswith("\nAnswer:") for prompt in prompts)
    assert records(tmp_path / "out.jsonl")[0]["conditions"]["task"]["name"] == "gsm8k_kdprobe_completion"
    told = ["eval", str(plain), "--limit", "1", "--problems", "gsm-symbolic", "--option", "gsm-symbolic.templates=[6]"]
    assert _run([*told, "--task", "gsm8k_kdprobe", "--store", str(tmp_path)]) == 2
    assert "needs a chat template" in capsys.readouterr().err


@contextmanager
def serving(answer, port=0):
    """A server that behaves like a chat model; yields its port and the requests it received."""
    asked, lock = [], threading.Lock()

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked.append(body["messages"][-1]["content"])
                content = answer(asked)
            self.send_response(500 if content is KeyError else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]}
            self.wfile.write(json.dumps(reply if content is not KeyError else {}).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()


@pytest.mark.parametrize("concurrent", [1, 3])
def test_a_model_behind_an_api_is_asked_each_question_once_also_after_a_failure(concurrent, evaluate, tmp_path, capsys):
    pytest.importorskip("tenacity", reason="lm-eval's API models need lm-eval[api]")
    from kdprobe.cli import _run

    source = tmp_path / "six.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in six()))
    with serving(lambda asked: KeyError if len(asked) > 3 else "#### 55") as (port, first_asked):
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        model_args = f"base_url={url},num_concurrent={concurrent},max_retries=1"
        command = ["eval", "any", "--model-type", "local-chat-completions", "--model-args", model_args]
        command += ["--problems", str(source), "--store", str(tmp_path / "store")]
        assert _run(command) == 1
        assert "'local-chat-completions' failed" in capsys.readouterr().err
    (kept,) = (tmp_path / "store" / "making").glob("*.scratch/answers.jsonl")
    saved = len(kept.read_text().splitlines())
    # Of several questions at once some answers may be on their way when another fails.
    assert saved == 3 if concurrent == 1 else 0 < saved <= 3
    # Another server, for the first may still be reading questions that were on their way.
    with serving(lambda _: "#### 55", port) as (_, asked):
        assert _run([*command, "--out", str(tmp_path / "out.jsonl")]) == 0
    assert f"{saved} of 6 answers already saved" in capsys.readouterr().err
    assert len(asked) == len(set(asked)) == 6 - saved
    assert {*first_asked[:3], *asked} == {row["question"] for row in six()}
    # What lm-eval's tasks that failed leave behind goes here, not in the midst of whatever comes next.
    gc.collect()
    rows = records(tmp_path / "out.jsonl")
    assert [row["response"] for row in rows] == ["#### 55"] * 6
    assert {row["cut_off"] for row in rows} == {None}
    assert rows[0]["conditions"]["budget"] == {"tokens": "512"}


def six():
    return [{"question": f"What is {n} + 1?", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"} for n in range(50, 56)]


def test_a_model_type_that_does_not_exist_is_told(tiny_model, problem_files, tmp_path, capsys):
    from kdprobe.cli import _run

    told = ["eval", "any", "--problems", str(problem_files[1]), "--store", str(tmp_path), "--model-type", "no-such"]
    assert _run(told) == 1
    assert "lm-eval's model type 'no-such' failed" in capsys.readouterr().err


def test_progress_tells_accuracy_speed_and_what_was_skipped(capsys):
    from kdprobe.console import Progress

    bar = Progress("asking", 10, "tok")
    bar.skip(4)
    assert "left" not in bar.state()
    bar.advance(2, work=50, remark="50.0% right")
    words = bar.state()
    assert words.startswith("6/10, ")
    assert "tok/s, 50.0% right, 0:00 left" in words


def test_records_in_the_store_are_read_as_they_are(evaluate, tmp_path):
    (score,) = evaluate()
    table = pd.read_parquet(score["file"])
    assert len(table) == 6
    assert table.conditions[0]["budget"] == {"tokens": "12"}
    assert score["file"].endswith("/records.parquet")


def test_an_answer_with_half_an_emoji_is_kept_once_and_for_all(tmp_path, run_cli, problem_files):
    pytest.importorskip("tenacity", reason="lm-eval's API models need lm-eval[api]")
    with serving(lambda asked: f"\ud83c and\x00 \x1b[31m {len(asked)}\n#### 55") as (port, asked):
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        command = ["eval", "any", "--model-type", "local-chat-completions", "--model-args", f"base_url={url}"]
        command += ["--problems", problem_files[1], "--store", tmp_path / "store", "--json"]
        first = json.loads(run_cli(*command, "--out", tmp_path / "out.jsonl"))
        assert json.loads(run_cli(*command, "--out", tmp_path / "out.jsonl")) == first
    assert len(asked) == 6
    responses = [row["response"] for row in records(tmp_path / "out.jsonl")]
    assert sorted(responses) == [f"\ufffd and\ufffd \ufffd[31m {n}\n#### 55" for n in range(1, 7)]


def texts_below(folder):
    """Every file below a folder with its content as text; for Parquet, also the contents of its cells."""
    for file in folder.rglob("*"):
        if file.is_file():
            yield file, file.read_text(encoding="utf-8", errors="replace")
            if file.suffix == ".parquet":
                yield file, pd.read_parquet(file).to_json()


def test_keys_and_passwords_are_sent_and_never_written_and_changing_them_repeats_nothing(
    tmp_path, capfd, monkeypatch, problem_files
):
    pytest.importorskip("tenacity", reason="lm-eval's API models need lm-eval[api]")
    from kdprobe.cli import _run

    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-environment")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def told(password, port, key):
        url = f"http://me:{password}@127.0.0.1:{port}/v1/chat/completions"
        model_args = f"base_url={url},num_concurrent=1,max_retries=1,api_key={key}"
        command = ["eval", "any", "--model-type", "local-chat-completions", "--model-args", model_args]
        return [*command, "--problems", str(problem_files[1]), "--store", str(tmp_path / "store"), "--json"]

    secrets = ["first-password", "second-password", "first-api-key", "second-api-key", "key-of-the-environment"]
    with serving(lambda asked: KeyError if len(asked) > 3 else "#### 55") as (port, asked):
        assert _run(told(secrets[0], port, secrets[2])) == 1
        (scratch,) = (tmp_path / "store" / "making").glob("*.scratch")
        assert _run(["--debug", *told(secrets[1], port, secrets[3])]) == 1
        assert list((tmp_path / "store" / "making").glob("*.scratch")) == [scratch]
        asked_before = len(asked)
    with serving(lambda asked: "#### 55", port) as (port, asked):
        assert _run(told(secrets[1], port, secrets[3])) == 0
        assert 0 < len(asked) <= 6 - 3 < asked_before
        assert _run(told(secrets[0], port, secrets[2])) == 0
        assert len(asked) <= 6 - 3
    out, err = capfd.readouterr()
    for place, text in [("out", out), ("err", err), *texts_below(tmp_path)]:
        for secret in secrets:
            assert secret not in text, place


def test_a_task_that_repeats_problems_is_asked_once_and_says_so(evaluate, tmp_path, monkeypatch, capsys):
    from kdprobe.evaluation import lm_eval_run
    from kdprobe.evaluation.protocol import task_folder

    once = evaluate("--temperature", 1, "--out", tmp_path / "once.jsonl")
    folder = shutil.copytree(task_folder(), tmp_path / "tasks")
    for file in folder.glob("*/gsm8k_kdprobe.yaml"):
        file.write_text(file.read_text() + "repeats: 3\n")
    monkeypatch.setattr(lm_eval_run, "task_folder", lambda: folder)
    capsys.readouterr()
    thrice = evaluate("--temperature", 1, "--store", tmp_path / "other", "--out", tmp_path / "thrice.jsonl")
    assert "the task repeats each problem 3 times; kdprobe asks once" in " ".join(capsys.readouterr().err.split())
    assert thrice[0]["interval"] == once[0]["interval"]
    answers = [[row["response"] for row in records(tmp_path / f"{name}.jsonl")] for name in ("once", "thrice")]
    assert answers[0] == answers[1]
