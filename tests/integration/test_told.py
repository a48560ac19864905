"""What `kdprobe eval` and `kdprobe probe` pass to chat templates: system message, date and template arguments."""

import json
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

TEMPLATE = (
    "Today: {{ strftime_now('%d %b %Y') }}\n"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}clear words\n{% endif %}{% endif %}"
)
NO_SYSTEM = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no system role') }}"
    "{% endif %}{{ message['content'] }}{% endfor %}"
)
NO_ANSWERS = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ raise_exception('no answers') }}"
    "{% endif %}{{ message['content'] }}{% endfor %}"
)
TOLD = ("--system", "Be brief.", "--date", "2026-11-25", "--template-argument", "enable_thinking=false")
FORM = (
    "Today: 25 Nov 2026\n<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n"
    "<|im_start|>assistant\nclear words\n"
)


@pytest.fixture(scope="module")
def with_template(tiny_model, tmp_path_factory):
    """The tiny model with another chat template, or none."""

    def make(template):
        folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("model") / "dated")
        (folder / "chat_template.jinja").unlink()
        if template:
            (folder / "chat_template.jinja").write_text(template)
        return folder

    return make


@pytest.fixture(scope="module")
def dated(with_template):
    return with_template(TEMPLATE)


@pytest.fixture
def evaluate(tmp_path, problem_files, run_cli):
    """Runs `kdprobe eval`; returns the score and the records."""

    def run(model, *arguments, out="out"):
        told = ["eval", model, "--problems", problem_files[1], "--max-new-tokens", 4, "--store", tmp_path / "store"]
        (score,) = json.loads(run_cli(*told, "--out", tmp_path / f"{out}.jsonl", *arguments, "--json"))
        return score, [json.loads(line) for line in (tmp_path / f"{out}.jsonl").read_text().splitlines()]

    return run


@pytest.fixture
def refused(problem_files, tmp_path, capsys):
    """Runs a command that fails; returns what it said."""
    from kdprobe.cli import _run

    def run(command, model, *arguments):
        store = ("--store", str(tmp_path / "store")) if command == "eval" else ()
        assert _run([command, str(model), "--problems", str(problem_files[1]), *store, *map(str, arguments)]) in {1, 2}
        return " ".join(capsys.readouterr().err.split())

    return run


@pytest.fixture
def no_weights(monkeypatch):
    """Fails if weights are loaded."""
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights were loaded"))


def prompts_of(rows):
    return rows[0]["conditions"]["prompt"]["form"]


def test_evaluated_models_read_what_the_options_say(evaluate, dated, tmp_path, run_cli):
    score, rows = evaluate(dated, *TOLD)
    assert prompts_of(rows) == FORM
    said = {"system": "Be brief.", "date": "2026-11-25", "template_arguments": {"enable_thinking": False}}
    assert score["conversation"] == said
    as_text = {**said, "template_arguments": '{"enable_thinking": false}'}
    assert all(row["conditions"]["conversation"] == as_text for row in rows)
    plain_score, plain = evaluate(dated, out="plain")
    assert prompts_of(plain).startswith("Today: 26 Jul 2024\n<|im_start|>user\n")
    assert plain_score["conversation"] == {"system": None, "date": "2024-07-26", "template_arguments": {}}
    # Each thing that is said makes another evaluation, the same things the same one.
    evaluate(dated, *TOLD[2:])
    evaluate(dated, *TOLD)
    assert len(list((tmp_path / "store" / "stages" / "evaluate").iterdir())) == 3
    found = json.loads(run_cli("compare", tmp_path / "out.jsonl", tmp_path / "plain.jsonl", "--json"))["findings"]
    (evidence,) = [finding["evidence"] for finding in found if finding["code"] == "unequal-prompt"]
    assert "25 Nov 2026" in evidence
    assert "26 Jul 2024" in evidence


def test_the_conversation_is_told_to_people_too(dated, problem_files, tmp_path, capsys):
    from kdprobe.cli import _run

    told = ["eval", dated, "--problems", problem_files[1], "--max-new-tokens", 4, "--store", tmp_path, "--limit", 2]
    assert _run([*map(str, told), *TOLD]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert 'Chat template settings: {"system": "Be brief.", "date": "2026-11-25"' in said


def test_few_shot_prompts_without_a_common_form_are_compared_by_their_hashes(evaluate, dated, problem_files, run_cli):
    shots = ("--problems", "jsonl", "--option", f"jsonl.transfer={problem_files[0]}")
    shots += ("--option", f"jsonl.test={problem_files[1]}", "--task", "gsm8k_kdprobe_fewshot")
    first, rows = evaluate(dated, *shots, out="first")
    assert "form" not in rows[0]["conditions"]["prompt"]
    again, _ = evaluate(dated, *shots, "--max-new-tokens", 5, out="again")
    other, _ = evaluate(dated, *shots, "--date", "2026-11-25", out="other")

    def unequal(a, b):
        found = json.loads(run_cli("compare", a["file"], b["file"], "--json"))["findings"]
        return [finding["evidence"] for finding in found if finding["code"] == "unequal-prompt"]

    assert unequal(first, again) == []
    assert unequal(first, other) == ["The arms read different prompts: first and other on 6 of 6 problems."]


@pytest.mark.parametrize("command", ["eval", "probe"])
@pytest.mark.parametrize(
    ("template", "arguments", "sentence"),
    [
        (NO_SYSTEM, ["--system", "Be brief."], "rejects a conversation with the roles system, user: no system role"),
        ("{{ messages[-1]['content'] }}", ["--system", "Be brief."], "drops or changes the system message"),
        (NO_ANSWERS, [], "rejects a conversation with the roles user, assistant: no answers"),
        ("{{ raise_exception('none at all') }}", [], "rejects a conversation with the role user: none at all"),
        (TEMPLATE, ["--template-argument", "enable_thinkin=false"], "does not use the argument 'enable_thinkin'"),
        (None, ["--system", "Be brief."], "has no chat template"),
        (None, ["--template-argument", "enable_thinking=false"], "has no chat template"),
    ],
)
def test_what_a_template_does_not_take_is_refused_before_weights_are_loaded(
    command, template, arguments, sentence, with_template, refused, no_weights
):
    assert sentence in refused(command, with_template(template), *arguments)


def test_examples_that_a_template_refuses_are_refused_before_weights_are_loaded(with_template, refused, no_weights):
    said = refused("eval", with_template(NO_ANSWERS), "--task", "gsm8k_kdprobe_cot")
    assert "rejects a conversation with the roles user, assistant, user: no answers" in said


@pytest.mark.parametrize("command", ["eval", "probe"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--date", "25.11.2026"], "date: must be a date such as 2026-11-25"),
        (["--date", "0"], "date: must be a date such as 2026-11-25"),
        (["--date", "2026-02-30"], "date:"),
        (["--template-argument", "enable_thinking"], "is not of the form NAME=VALUE"),
        (["--template-argument", "=false"], "is not of the form NAME=VALUE"),
        (["--template-argument", "enable_thinking=False"], "Write enable_thinking=false"),
        (["--template-argument", "a=1", "--template-argument", "a=2"], "given twice"),
        (["--template-argument", "tokenize=true"], "must not contain tokenize"),
    ],
)
def test_wrong_use_is_told(command, arguments, sentence, dated, refused):
    assert sentence in refused(command, dated, *arguments)


def test_a_task_without_a_chat_template_takes_neither_system_message_nor_arguments(dated, refused):
    said = refused("eval", dated, "--task", "gsm8k_kdprobe_completion", "--system", "Be brief.")
    assert "The task gsm8k_kdprobe_completion uses no chat template" in said
    said = refused("eval", "any", "--model-type", "local-completions", "--template-argument", "a=1")
    assert "The task gsm8k_kdprobe_completion uses no chat template" in said


def test_values_of_arguments_are_those_of_toml(dated):
    from kdprobe.cli.inputs import read_template_arguments

    texts = ("a=false", "b=3", "c=0.5", 'd="3"', "e=low", "f=null", "g=a=b", "h=", "i=[1, 2]")
    assert read_template_arguments(texts) == {
        "a": False,
        "b": 3,
        "c": 0.5,
        "d": "3",
        "e": "low",
        "f": None,
        "g": "a=b",
        "h": "",
        "i": [1, 2],
    }


def test_probed_students_read_what_the_options_say(run_cli, dated, problem_files, tmp_path, monkeypatch):
    from kdprobe.students import bridges

    read = []

    class Reading(bridges.Bridges):
        def __init__(self, students, check, *further):
            read.extend(check)
            super().__init__(students, check, *further)

    monkeypatch.setattr(bridges, "Bridges", Reading)
    told = ("probe", dated, "--against", dated, "--problems", problem_files[1], "--limit", 2, "--analysis", "heads")
    found = json.loads(run_cli(*told, *TOLD, "--out", tmp_path / "page", "--json"))
    from transformers import AutoTokenizer

    opening = AutoTokenizer.from_pretrained(dated).decode(read[0])
    assert opening.startswith(FORM.partition("{question}")[0])
    assert "clear words\n" in opening
    assert found["conversation"]["date"] == "2026-11-25"
    assert "Chat template settings:" in (tmp_path / "page" / "probe.html").read_text()


def test_options_for_templates_go_with_models(refused, tmp_path, capsys):
    from kdprobe.cli import _run

    assert _run(["probe", "--patterns", str(tmp_path), "--system", "Be brief."]) == 2
    assert "need MODEL and cannot be used with --patterns" in " ".join(capsys.readouterr().err.split())


@contextmanager
def chat_server():
    """A server that records requests and always answers 55; yields its address and the requests."""
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            choice = {"index": 0, "message": {"role": "assistant", "content": "#### 55"}, "text": "#### 55"}
            self.wfile.write(json.dumps({"choices": [choice]}).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", asked
        finally:
            server.shutdown()


def test_a_chat_server_is_sent_what_a_request_can_say(evaluate, refused, run_cli):
    pytest.importorskip("tenacity", reason="lm-eval's API models need lm-eval[api]")
    with chat_server() as (url, asked):
        server = ("--model-type", "local-chat-completions", "--model-args", f"base_url={url}/chat/completions")
        score, rows = evaluate("any", *server, *TOLD[:2], *TOLD[4:], out="told")
        assert {json.dumps(body["chat_template_kwargs"]) for body in asked} == {'{"enable_thinking": false}'}
        assert {body["messages"][0]["content"] for body in asked} == {"Be brief."}
        assert [message["role"] for message in asked[0]["messages"]] == ["system", "user"]
        prompt = rows[0]["conditions"]["prompt"]
        assert prompt["rendered"] == "by the server"
        assert prompt["template_arguments"] == '{"enable_thinking": false}'
        assert "date" not in rows[0]["conditions"]["conversation"]
        asked.clear()
        other, _ = evaluate("any", *server, *TOLD[:2], out="untold")
        assert len(asked) == 6
        assert all("chat_template_kwargs" not in body for body in asked)
        assert "does not accept a date: the server renders the prompts" in refused("eval", "any", *server, *TOLD[2:4])
        assert len(asked) == 6
    found = json.loads(run_cli("compare", score["file"], other["file"], "--json"))["findings"]
    (evidence,) = [finding["evidence"] for finding in found if finding["code"] == "unequal-prompt"]
    assert 'template_arguments: {"enable_thinking": false} (told), {} (untold)' in evidence


def test_prompts_that_lm_eval_renders_for_a_server_are_told_all_of_it(evaluate, dated, tmp_path, tiny_model):
    """A model type that has a tokenizer here, and a server that continues the text."""
    pytest.importorskip("tenacity", reason="lm-eval's API models need lm-eval[api]")
    with chat_server() as (url, _):
        arguments = f"base_url={url}/completions,tokenizer={dated},tokenizer_backend=huggingface"
        kind = ("--model-type", "rendered-here", "--model-args", arguments)
        register()
        _, rows = evaluate("any", *kind, *TOLD)
    assert prompts_of(rows) == FORM
    assert rows[0]["conditions"]["prompt"]["rendered"] == "here"
    assert rows[0]["conditions"]["conversation"]["date"] == "2026-11-25"


def register():
    """One of lm-eval's own classes under a name that does not say completions, as vLLM's does not."""
    from lm_eval.api.registry import model_registry
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    if "rendered-here" not in model_registry:
        model_registry.register("rendered-here", target=LocalCompletionsAPI)
