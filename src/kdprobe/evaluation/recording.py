"""Records lm-eval's models: answers are saved as they arrive, and saved answers are not requested again.

lm-eval's own response cache is never used, because its key omits the model, so that one model would get another's
answers. But all of lm-eval's models pass each answer to the cache, and that call is recorded.
"""

from __future__ import annotations

from typing import Any

from kdprobe.console import Progress
from kdprobe.errors import KdprobeError
from kdprobe.evaluation.checked_replies import CheckedReplies
from kdprobe.evaluation.draws import Draws
from kdprobe.evaluation.engines.engine import EngineStudent
from kdprobe.evaluation.ledger import Ledger
from kdprobe.evaluation.prompt_check import PromptCheck
from kdprobe.evaluation.protocol import Protocol
from kdprobe.evaluation.student_lm import StudentLM
from kdprobe.models.outline.room import named, too_long
from kdprobe.models.thinking import Written, with_opening
from kdprobe.problems.correctness import judge
from kdprobe.problems.gold import gold_text
from kdprobe.text import safe_text
from kdprobe.words import counted, these

PLAN = "batch plan"
"""The ledger's entry for the batch size."""


class Recording(CheckedReplies):
    """Mixin in front of one of lm-eval's model classes; ledger entries are named as in `draws`.

    An entry has `response`, with thinking between marks, and, if known, `tokens`, `finished` and `prompt`, a digest of
    the prompt's token ids.
    """

    def record_into(self, ledger: Ledger, bar: Progress, draws: Draws) -> None:
        """Sets the ledger for answers, the progress bar, and how many answers to each problem are requested."""
        self.ledger, self.bar, self.draws = ledger, bar, draws
        self.cache_hook = self

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> list[str]:  # noqa: ARG002
        """As lm-eval's, but only for requests without a saved answer."""
        named = self.draws.requests(requests)
        self._requests = dict(named)
        self._judged = self._right = 0
        unanswered = {name: request for name, request in self._requests.items() if name not in self.ledger}
        self._count({name: self.ledger[name] for name in self._requests if name in self.ledger})
        self.bar.skip(self._judged)
        if unanswered:
            responses = super().generate_until(list(unanswered.values()), disable_tqdm=True)  # type: ignore[misc]
            for name, response in zip(unanswered, responses, strict=True):
                # lm-eval does not pass on empty answers of an API.
                if name not in self.ledger:
                    self.keep({name: _entry(unanswered[name].args[0], safe_text(response or ""))})
        return [self.ledger[name]["response"] for name, _ in named]

    def add_partial(self, _method: str, request: Any, response: str | None) -> None:
        """Called by lm-eval's models with each answer; the request is the prompt and the arguments."""
        self.keep({self.draws.name(request): _entry(request[0], safe_text(response or ""))})

    def thinking_tokens(self, _written: Written) -> int | None:
        """Number of thinking tokens in an answer; unknown if the model is behind an API."""
        return None

    def keep(self, entries: dict[str, dict[str, Any]]) -> None:
        """Saves answers that were finished together, and shows progress."""
        self.ledger.add(entries)
        self._count(entries)
        self.bar.advance(len(entries), work=sum(entry["tokens"] or 0 for entry in entries.values()))

    def _count(self, entries: dict[str, dict[str, Any]]) -> None:
        for name, entry in entries.items():
            self._right += judge(entry["response"], gold_text(self._requests[name].doc["answer"])).right
        self._judged += len(entries)
        if self._judged:
            self.bar.remark = f"{self._right / self._judged:.1%} correct"


def _entry(prompt: Any, response: str | None) -> dict[str, Any]:
    return {
        "response": with_opening(str(prompt), response or ""),
        "tokens": None,
        "finished": None,
        "prompt": None,
    }


class RecordingModel(Recording, StudentLM):
    """A student that answers the problems of the deciding task.

    Args:
        student: The student, as an engine loaded it.
        protocol: How it decodes.
        check: The check of its prompts, if they are known.
    """

    def __init__(self, student: EngineStudent, protocol: Protocol, check: PromptCheck | None = None) -> None:
        # A chat template writes its own beginning-of-sequence token.
        add_bos_token = False if student.tokenizer.chat_template else None
        super().__init__(student, seed=protocol.seed, add_bos_token=add_bos_token)
        if protocol.max_new_tokens >= self.max_length:
            raise KdprobeError(
                f"The token budget of {protocol.max_new_tokens} does not fit: the context window of "
                f"{student.record.name!r} is {self.max_length} tokens.",
                "Lower the token budget (max_new_tokens).",
            )
        self._protocol, self._check = protocol, check
        self._batch: dict[str, dict[str, Any]] = {}

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> list[str]:
        """As in `Recording`, in batches of the size that was chosen when the evaluation began."""
        prompts = {f"problem {request.doc_id + 1}": request.args[0] for request in requests}
        # lm-eval would truncate the beginning of such a prompt.
        if long := too_long(self.tokenizer, prompts, self.max_length - self._protocol.max_new_tokens):
            raise KdprobeError(
                f"The context window of {self.student.record.name!r} is {self.max_length} tokens, and {len(long)} of "
                f"{len(prompts)} prompts {'leaves' if len(long) == 1 else 'leave'} no room for "
                f"{counted(self._protocol.max_new_tokens, 'new token')}: {named(long)}.",
                f"Lower the token budget (max_new_tokens), or remove {these(len(long), 'problem')}.",
            )
        if PLAN not in self.ledger:
            self.ledger.add({PLAN: self._plan([request.args[0] for request in requests])})
        self.batch_size_per_gpu = self.ledger[PLAN]["size"]
        return super().generate_until(requests, disable_tqdm)

    def thinking_tokens(self, written: Written) -> int | None:
        """Number of thinking tokens in an answer."""
        return len(self.tok_encode(written.thinking, add_special_tokens=False)) if written.thinking else None

    def before_batch(self, prompts: list[list[int]]) -> None:
        """Compares the prompts with those that the student was trained on."""
        if self._check is not None:
            self._check.before_batch(prompts)

    def _plan(self, prompts: list[str]) -> dict[str, int]:
        if self._protocol.batch_size != "auto":
            return {"size": self._protocol.batch_size}
        return {"size": self.student.answers_at_once(self.encoded(prompts), self._protocol.max_new_tokens)}

    def add_partial(self, _method: str, request: Any, response: str | None) -> None:
        """Receives the answers of a batch, in the order of its rows; they are saved together once all have arrived."""
        self._batch[self.draws.name(request)] = _entry(request[0], response) | self.decoded.popleft()
        if not self.decoded:
            self.keep(self._batch)
            self._batch = {}
