"""Has vLLM write, or write given tokens, and reads its distribution at every token."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdprobe import KdprobeError
from kdprobe.teachers import Sampling, SparseRows
from kdprobe_vllm.rows import KEY, read_records, sparse_rows
from kdprobe_vllm.running import Running


@dataclass(frozen=True)
class Wanted:
    """Something for vLLM to write.

    Attributes:
        prompt: Token ids of the prompt.
        parameters: Of vLLM's `SamplingParams`.
        forced: The token ids to write, or `None` if vLLM chooses.
    """

    prompt: list[int]
    parameters: dict[str, Any]
    forced: list[int] | None = None

    @classmethod
    def given(cls, prompt: list[int], tokens: Sequence[int]) -> Wanted:
        """Exactly these tokens."""
        forced = list(tokens)
        return cls(prompt, {"temperature": 0.0, "ignore_eos": True, "max_tokens": len(forced)}, forced)


def write(
    running: Running, wanted: Sequence[Wanted], sampling: Sampling, *, vocabulary: int, adapter: Path | None
) -> list[tuple[list[int], SparseRows]]:
    """Token ids, with the distribution over real tokens at each, in order.

    Args:
        running: vLLM, started with `CAPTURING`.
        wanted: What to write.
        sampling: k and the temperatures of the tails.
        vocabulary: Number of real token ids.
        adapter: The adapter's folder, or `None`.

    Raises:
        KdprobeError: vLLM fails, aborts an answer, does not write the given tokens, or does not report its
            distributions.
    """
    temperatures = [*sampling.temperatures]
    k = min(sampling.top_logprobs, vocabulary)
    with tempfile.TemporaryDirectory(prefix="kdprobe-vllm-") as folder:
        file = Path(folder, "rows")
        file.touch()
        shared = {"file": str(file), "k": k, "temperatures": temperatures, "vocabulary": vocabulary}
        parameters = []
        for request, each in enumerate(wanted):
            asked = {**shared, "request": request, "forced": each.forced}
            # vLLM's own log-probability of what was written shows whether the records are of the same tokens.
            further = {"logprobs": 0, "detokenize": False, "extra_args": {KEY: asked}}
            parameters.append({**each.parameters, **further})
        outputs = [output.outputs[0] for output in running.ask([each.prompt for each in wanted], parameters, adapter)]
        records = read_records(file, [len(output.token_ids) for output in outputs], k, len(temperatures))
    written = []
    for each, output, own in zip(wanted, outputs, records, strict=True):
        tokens = [*output.token_ids]
        if output.finish_reason not in {"stop", "length"} or (each.forced is not None and tokens != each.forced):
            raise KdprobeError(
                f"vLLM ended an answer for the reason {output.finish_reason!r} before it was complete.",
                "Finished answers are saved; rerun the command, or use the teacher 'transformers'.",
            )
        logprobs = [row[token].logprob for row, token in zip(output.logprobs, tokens, strict=True)]
        written.append((tokens, sparse_rows(own, tokens, logprobs, temperatures)))
    return written
