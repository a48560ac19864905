"""A chat server in this process, whose model writes a fixed answer with log-probabilities; its faults, on demand."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from kdprobe.teachers import Request, Sampling

REQUESTS = [Request(f"p{index}", [{"role": "user", "content": f"Question {index}?"}]) for index in range(5)]
SAMPLING = Sampling(max_new_tokens=64, top_logprobs=6)
ANSWER = "Tom has 7 apples. He counts them: all, é 🍎."


class ServedModel:
    """Writes `ANSWER` and the end of turn; its distributions come from a seeded generator.

    Attributes:
        changes: Called on each answer before it is sent, one per request as long as there are any. A function changes
            the JSON data; a number is a status; a tuple is a status, headers and perhaps a body; `bytes` are a body;
            "cut" breaks the connection off in the middle, "slow" answers after the client's patience, "held" once
            it is released, or after half a minute, "trickle" sends
            a byte now and then, "endless" sends without an end, "wordy" ignores the token budget.
        refuse: Takes a request's body; what it returns is sent with status 400, unless it is nothing.
        asked: What was asked, with its headers and when.
        released: Lets the answers that are held go.
        waited_out: How many of them nobody released.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.changes, self.always = [], None
        self.refuse = lambda _body: None
        self.asked, self.url, self.at_once, self.most_at_once = [], "", 0, 0
        self.released, self.waited_out = threading.Event(), 0
        self.write(ANSWER)

    def write(self, text):
        """Sets what it answers from now on."""
        tokenizer = self.tokenizer
        self.ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        logits = np.random.default_rng(0).normal(size=(len(self.ids), len(tokenizer))) * 2
        # What is written is the most probable, as under greedy decoding.
        logits[np.arange(len(self.ids)), self.ids] = logits.max(axis=-1) + 1
        self.logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    def token(self, position, id_):
        """An entry as llama.cpp serves it: with its id, special tokens without their text."""
        special = id_ in self.tokenizer.all_special_ids
        text = "" if special else self.tokenizer.decode([id_])
        return {"id": int(id_), "token": text, "logprob": float(self.logprobs[position, id_]), "bytes": None}

    def echo(self, body):
        """A completion that repeats its prompt, as vLLM serves it; the last tokens have the rows of the answer."""
        ids, k = body["prompt"], body["logprobs"]
        before = len(ids) - len(self.ids)
        rows = [None, *self.logprobs[[max(place - before, 0) for place in range(1, len(ids))]]]

        def top(place):
            # The token itself comes on top of the k alternatives.
            listed = [*np.argsort(-rows[place])[:k], ids[place]]
            return {f"token_id:{id_}": float(rows[place][id_]) for id_ in listed}

        logprobs = {
            "tokens": [f"token_id:{id_}" for id_ in ids],
            "token_logprobs": [None, *(float(rows[place][ids[place]]) for place in range(1, len(ids)))],
            "top_logprobs": [None, *map(top, range(1, len(ids)))],
        }
        return {"choices": [{"text": self.tokenizer.decode(ids), "finish_reason": "length", "logprobs": logprobs}]}

    def answer(self, body):
        if "prompt" in body:
            return self.echo(body)
        k = body.get("top_logprobs", 0)
        ids = self.ids[: body.get("max_tokens", body.get("max_completion_tokens"))]
        content = [
            {
                **self.token(position, id_),
                "top_logprobs": [self.token(position, top) for top in np.argsort(-self.logprobs[position])[:k]],
            }
            for position, id_ in enumerate(ids)
        ]
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        choice = {
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop" if len(ids) == len(self.ids) else "length",
            "logprobs": {"content": content} if body.get("logprobs") else None,
        }
        return {"choices": [choice], "usage": {"completion_tokens": len(ids)}}


@contextmanager
def serving(model):
    """Runs the server while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            model.asked.append((time.monotonic(), dict(self.headers), body))
            model.at_once += 1
            model.most_at_once = max(model.most_at_once, model.at_once)
            try:
                self.respond(body, model.changes.pop(0) if model.changes else model.always)
            finally:
                model.at_once -= 1

        def respond(self, body, change):
            if refused := model.refuse(body):
                status, headers, data = 400, {}, refused
            else:
                status, headers, data = 200, {}, model.answer(body)
            if change == "trickle":
                self.never_end(b" ", pause=0.05)
            if change == "endless":
                self.never_end(b" " * 100_000, pause=0)
            if change == "wordy":
                data = model.answer({**body, "max_tokens": 10_000})
            if change == "slow":
                time.sleep(3)
            if change == "held" and not model.released.wait(30):
                model.waited_out += 1
            if isinstance(change, int):
                status, data = change, {"error": {"message": f"fault {change} of {self.headers.get('authorization')}"}}
            elif isinstance(change, tuple):
                status, headers, *sent = change
                data = {"error": "wait"}
            elif callable(change):
                change(data)
            bodies = [change] if isinstance(change, bytes) else sent if isinstance(change, tuple) else []
            sent = bodies[0] if bodies else json.dumps(data).encode()
            self.send_response(status)
            for name, value in {**headers, "content-type": "application/json", "content-length": len(sent)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            if change == "cut":
                self.wfile.write(sent[: len(sent) // 2])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.wfile.write(sent)

        def never_end(self, part, pause):
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            while True:
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                time.sleep(pause)

        def log_message(self, *_):
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass

    with Quiet(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        model.url = f"http://127.0.0.1:{running.server_port}/v1"
        try:
            yield model
        finally:
            running.shutdown()
            thread.join()
