"""Several samples from a server: each request has the seed of its sample, and none is sent twice."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import kdprobe

SAMPLES = 3


@pytest.fixture
def server():
    """A chat server whose answers depend on the question and the seed; yields its port and the requests."""
    asked, lock = [], threading.Lock()

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = body["messages"][-1]["content"]
            with lock:
                asked.append((question, body["seed"], body["temperature"]))
            broken = len(asked) > self.server.most
            self.send_response(500 if broken else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            content = f"{question} With seed {body['seed']}:\n#### {body['seed'] % 5}"
            reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]}
            self.wfile.write(json.dumps({} if broken else reply).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as serving:
        serving.most = 1000
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving, asked
        serving.shutdown()


@pytest.mark.parametrize("concurrent", [1, 3])
def test_each_sample_is_asked_once_with_its_own_seed_also_after_a_failure(concurrent, server, tmp_path):
    pytest.importorskip("tenacity", reason="lm-eval's API models need lm-eval[api]")
    serving, asked = server
    rows = [{"question": f"What is {n} + 1?", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"} for n in range(4)]
    url = f"http://127.0.0.1:{serving.server_port}/v1/chat/completions"
    given = {
        "model_type": "local-chat-completions",
        "model_args": f"base_url={url},num_concurrent={concurrent},max_retries=1",
        "problems": rows,
        "samples": SAMPLES,
        "temperature": 0.8,
        "store": tmp_path,
        "progress": False,
    }
    serving.most = 5
    with pytest.raises(kdprobe.KdprobeError, match="failed"):
        kdprobe.evaluate("any", **given)
    answered, serving.most = Counter(asked[:5]), 1000
    del asked[:]
    (records,) = kdprobe.evaluate("any", **given).records.values()
    # Whatever was answered before the failure is not asked for again; some of it may not have arrived.
    again = Counter(asked)
    assert max((answered + again).values()) <= (1 if concurrent == 1 else 2)
    assert len(set(answered) | set(again)) == 4 * SAMPLES
    assert {temperature for *_, temperature in again} == {0.8}
    for _, answers in records.groupby("id"):
        assert answers["sample"].tolist() == list(range(SAMPLES))
        assert answers["response"].nunique() == SAMPLES
        assert all("With seed" in text for text in answers["response"])
    (score,) = kdprobe.evaluate("any", **given).details
    assert score.samples == SAMPLES


def test_a_server_that_ignores_seeds_is_found(server, tmp_path, monkeypatch):
    pytest.importorskip("tenacity", reason="lm-eval's API models need lm-eval[api]")
    from lm_eval.models.openai_completions import LocalChatCompletion

    serving, _ = server
    payload = LocalChatCompletion._create_payload
    monkeypatch.setattr(
        LocalChatCompletion, "_create_payload", lambda *given, **more: {**payload(*given, **more), "seed": 7}
    )
    url = f"http://127.0.0.1:{serving.server_port}/v1/chat/completions"
    result = kdprobe.evaluate(
        "any",
        model_type="local-chat-completions",
        model_args=f"base_url={url}",
        problems=[
            {"question": "What is 1 + 1?", "answer": "#### 2"},
            {"question": "What is 1 + 2?", "answer": "#### 3"},
        ],
        samples=2,
        temperature=0.8,
        store=tmp_path,
        progress=False,
    )
    assert "identical-samples" in {finding.code for finding in result.findings}
