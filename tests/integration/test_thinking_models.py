"""Students that think before they answer: what is recorded, and what is read as the answer."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def evaluate(tmp_path, problem_files, run_cli):
    """Runs `kdprobe eval`; returns the score and the records."""

    def run(model, *arguments, budget=12):
        out = tmp_path / "out.jsonl"
        told = [
            "eval",
            model,
            "--problems",
            problem_files[1],
            "--max-new-tokens",
            budget,
            "--store",
            tmp_path / "store",
        ]
        (score,) = json.loads(run_cli(*told, "--out", out, "--json", *arguments))
        return score, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

    return run


MARKS = {"special": ("[THINK]", "[/THINK]"), "added": ("<think>", "</think>")}


@pytest.mark.parametrize("kind", MARKS)
def test_thinking_is_recorded_apart_and_not_read(kind, parrot, evaluate):
    """Also if its marks are special tokens, which decoding leaves out."""
    begin, end = MARKS[kind]
    model = parrot(f"{begin}12;9{end}8", **{kind: MARKS[kind]})
    score, rows = evaluate(model)
    assert (score["thinking"], score["unclosed_thinking"], score["no_answer"]) == (1.0, 0.0, 0.0)
    assert score["thinking_tokens"] == rows[0]["thinking_tokens"] == rows[0]["tokens"] - 4
    for row in rows:
        assert (row["response"], row["thinking"], row["thinking_closed"]) == ("8", "12;9", True)
        assert (row["value"], row["rule"]) == ("8", "last-number")


def test_thinking_that_reaches_the_budget_is_no_answer(parrot, evaluate):
    score, rows = evaluate(parrot("<think>12;9</think>8"), budget=3)
    assert (score["thinking"], score["unclosed_thinking"], score["no_answer"], score["empty"]) == (1.0, 1.0, 1.0, 0.0)
    assert all((row["response"], row["thinking_closed"], row["cut_off"]) == ("", False, True) for row in rows)
    assert {row["rule"] for row in rows} == {"unclosed-thinking"}


@pytest.mark.parametrize(("budget", "expected"), [(12, ("8", "12;9", True)), (3, ("", "12;", False))])
def test_a_template_may_begin_the_thinking(budget, expected, parrot, evaluate):
    model = parrot("12;9</think>8", opening=True)
    score, rows = evaluate(model, budget=budget)
    assert score["unclosed_thinking"] == (0.0 if expected[2] else 1.0)
    for row in rows:
        thinking = expected[1]
        assert (row["response"], row["thinking"][: len(thinking)], row["thinking_closed"]) == expected


@contextmanager
def serving(message):
    """A chat server that always gives this answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            sent = json.dumps({"choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("content", "answer", "closed"), [("It is 8.", "It is 8.", True), (None, "", False)], ids=["answered", "cut off"]
)
def test_what_a_server_gives_beside_the_content_is_thinking(content, answer, closed, evaluate):
    pytest.importorskip("tenacity", reason="lm-eval's API models need lm-eval[api]")
    message = {"role": "assistant", "content": content, "reasoning_content": "It may be 55."}
    with serving(message) as url:
        score, rows = evaluate("any", "--model-type", "local-chat-completions", "--model-args", f"base_url={url}")
    assert (score["thinking"], score["unclosed_thinking"]) == (1.0, 0.0 if closed else 1.0)
    for row in rows:
        assert (row["response"], row["thinking"], row["thinking_closed"]) == (answer, "It may be 55.", closed)
