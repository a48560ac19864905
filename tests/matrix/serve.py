"""A chat server over a transformers model: OpenAI's protocol, greedy, with log-probabilities and prompts' token ids."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch


class ServedModel:
    """A model with its own chat template and its own clock.

    Args:
        folder: Of the model.
        ends: Texts of the tokens that it stops at.
    """

    def __init__(self, folder: Path, ends: tuple[str, ...]) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.ends = self.tokenizer.convert_tokens_to_ids(list(ends))
        self._lock = threading.Lock()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion."""
        if body["temperature"] != 0:
            raise ValueError("this server decodes greedily")
        text = self.tokenizer.apply_chat_template(
            body["messages"], tokenize=False, add_generation_prompt=True, **body.get("chat_template_kwargs", {})
        )
        prompt = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        with self._lock, torch.inference_mode():
            ids, logprobs = self._decode(prompt, body["max_tokens"])
        k = body.get("top_logprobs", 0)
        content = [
            {**self._token(id_, row), "top_logprobs": [self._token(int(top), row) for top in row.topk(k).indices]}
            for id_, row in zip(ids, logprobs, strict=True)
        ]
        finished = ids[-1] in self.ends
        message = {"role": "assistant", "content": self.tokenizer.decode(ids, skip_special_tokens=True)}
        choice = {"index": 0, "message": message, "finish_reason": "stop" if finished else "length"}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": content}
        returned = {"prompt_token_ids": prompt} if body.get("return_token_ids") else {}
        return {"choices": [choice], "usage": {"completion_tokens": len(ids)}, **returned}

    def _decode(self, prompt: list[int], budget: int) -> tuple[list[int], list[torch.Tensor]]:
        """One token after another without a cache: slow, but simple."""
        written: list[int] = []
        rows: list[torch.Tensor] = []
        while len(written) < budget and not (written and written[-1] in self.ends):
            logits = self.model(input_ids=torch.tensor([[*prompt, *written]]), use_cache=False).logits[0, -1]
            rows.append(logits[: len(self.tokenizer)].log_softmax(-1))
            written.append(int(rows[-1].argmax()))
        return written, rows

    def _token(self, id_: int, row: torch.Tensor) -> dict[str, Any]:
        return {"id": id_, "token": self.tokenizer.decode([id_]), "logprob": float(row[id_])}


@contextmanager
def serving(model: ServedModel) -> Iterator[str]:
    """Runs the server while the block runs; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sent = json.dumps(model.answer(body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
