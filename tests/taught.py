"""Teachers that run here, and what they read and wrote, without an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdprobe.strategies.prompt_pair import PromptPair, bare
from kdprobe.teachers.teacher import Response


@dataclass
class Here:
    """A teacher that runs here and answers nothing."""

    record: Any
    provenance = {"teacher": "here"}  # noqa: RUF012
    part_size = None

    def respond(self, requests, sampling):
        raise AssertionError

    def loaded(self):
        from kdprobe.models.load import load

        return load(self.record)


def spelt_responses(tokenizer, problems):
    """Token ids that no tokenizer would write for their text: every character is a token of its own."""
    texts = [f"{problem.plain_solution[-30:]}" for problem in problems]
    ids = [[id_ for character in text for id_ in tokenizer(character)["input_ids"]] for text in texts]
    assert all(tokenizer(text)["input_ids"] != one for text, one in zip(texts, ids, strict=True))
    return [
        Response(problem.id, text, np.array([*one, tokenizer.eos_token_id]), finished=True)
        for problem, text, one in zip(problems, texts, ids, strict=True)
    ]


def made_teaching(teacher, tokenizer, problems, conversations, responses, **changed):
    """The teaching of two strategies, the first unprimed, both with the same responses."""
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.probing.priming.teaching import Priming, Teaching

    unprimed = {problem.id: PromptPair(bare(problem), bare(problem)) for problem in problems}
    primings = [
        Priming(
            strategy,
            pairs is unprimed,
            prompts={id_: prompt_ids(tokenizer, pair.teacher) for id_, pair in pairs.items()},
            responses=responses,
            tests=pairs,
        )
        for strategy, pairs in (("unprimed", unprimed), ("teacher", conversations))
    ]
    return Teaching(**{"teacher": teacher, "problems": problems, "primings": primings, "texts": "own", **changed})


def assert_only_says(result, reason):
    """The result of an analysis is nothing but one sentence, which has the reason."""
    assert not result.tables
    assert not result.figures
    assert len(result.statements) == 1
    assert reason in result.statements[0]
