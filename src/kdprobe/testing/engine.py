"""The contract of an engine: prompts read as they are, answers ended as told, and the student's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.host.registry import Host
from kdprobe.models.reference import resolve
from kdprobe.strategies.prompt_pair import bare
from kdprobe.students.student import Student
from kdprobe.teachers.teacher import Passage
from kdprobe.testing.contract import require
from kdprobe.testing.word_problems import some_problems
from kdprobe.words import counted

if TYPE_CHECKING:
    from kdprobe.evaluation.engines.engine import Decoded, EngineStudent

TOLERANCE = 1e-3
"""In nats, in float32."""
_BUDGET = 12


def check_engine(
    host: Host,
    name: str,
    options: dict[str, Any] | None = None,
    *,
    model: Path,
    adapters: Sequence[Path],
    tolerance: float = TOLERANCE,
) -> None:
    """Has an engine run a model with and without adapters in float32, and compares it with transformers.

    Args:
        host: The host that provides it.
        name: The engine.
        options: Its options, as in a config.
        model: The folder of a small model that the engine can run.
        adapters: Folders of its adapters, such as from `write_random_adapter`; they must differ.
        tolerance: How far log-probabilities may be from those of transformers, in nats.

    Raises:
        ContractError: The engine has no versions, answers differently from transformers, exceeds the budget, ends
            answers elsewhere, depends on what else is in the batch, or runs one student as another.
    """
    from kdprobe.evaluation.engines.builtin import TransformersEngine
    from kdprobe.models.shared_bases import SharedBases

    engine, bases = host.create("engines", name, options), SharedBases()
    require(
        all(isinstance(key, str) and isinstance(value, str) for key, value in engine.versions.items()),
        f"The versions of the engine {name!r} must map libraries to versions, both strings.",
    )
    base = resolve(str(model))
    try:
        for adapter in (None, *adapters, None):
            student = Student(adapter.name if adapter else "the base", base, adapter)
            expected = TransformersEngine().load(student, dtype="float32", bases=bases)
            found = engine.load(student, dtype="float32", bases=bases)
            label = f"The engine {name!r} with {student.name}"
            _check_attributes(found, expected, label)
            _check_answers(found, expected, label, tolerance)
            _check_scores(found, expected, label, tolerance)
    finally:
        engine.close()


def _check_attributes(found: EngineStudent, expected: EngineStudent, label: str) -> None:
    require(
        found.end_ids == expected.end_ids,
        f"{label} ends answers with the tokens {sorted(found.end_ids)}, not {sorted(expected.end_ids)}.",
    )
    require(
        found.tokenizer.get_vocab() == expected.tokenizer.get_vocab(),
        f"{label} has a different tokenizer from the student's.",
    )
    require(
        0 < (found.context_length or 1) <= (expected.context_length or 1),
        f"{label} has a context_length of {found.context_length}; the model's is {expected.context_length}.",
    )
    prompts = _prompts(found)
    for size, method in (
        (found.answers_at_once(prompts, _BUDGET), "answers"),
        (found.passages_at_once(64), "passages"),
    ):
        require(
            isinstance(size, int) and size >= 1, f"{label}: {method}_at_once must be a positive integer, not {size!r}."
        )


def _check_answers(found: EngineStudent, expected: EngineStudent, label: str, tolerance: float) -> None:
    prompts = _prompts(found)
    free = _decode(expected, prompts, frozenset())
    # Tokens that the model does write, so that some answers end early and others do not.
    ends = frozenset(free[row].token_ids[place] for row, place in ((0, 0), (1, 4)))
    for end_ids in (frozenset(), ends):
        answers = _decode(found, prompts, end_ids)
        require(len(answers) == len(prompts), f"{label} answers {len(answers)} of {len(prompts)} prompts.")
        for prompt, answer, reference in zip(prompts, answers, _decode(expected, prompts, end_ids), strict=True):
            _check_end(answer, end_ids, label)
            _check_greedy(expected, prompt, answer, label, tolerance)
            if answer.token_ids == reference.token_ids:
                require(
                    answer.finished == reference.finished,
                    f"{label}: finished is {answer.finished} for an answer that transformers says is "
                    f"{'finished' if reference.finished else 'cut off'}.",
                )
        for prompt in prompts:
            (alone,) = _decode(found, [prompt], end_ids)
            _check_greedy(expected, prompt, alone, f"{label}, one prompt at a time,", tolerance)
    settings = {"do_sample": True, "temperature": 0.8, "top_p": 0.95}
    first, second, third = (_decode(found, prompts, ends, settings=settings, seed=seed) for seed in (1, 1, 2))
    require(first == second, f"{label}: sampling with the same seed gives different answers the second time.")
    require(first != third, f"{label}: sampling with another seed gives the same answers.")
    together = _decode(found, prompts, ends, settings=settings, draws_by_row=True)
    apart = [_decode(found, [prompt], ends, settings=settings, draws_by_row=True)[0] for prompt in prompts]
    require(together == apart, f"{label}: with draws_by_row, sampled answers depend on the other prompts of a batch.")


def _check_end(answer: Decoded, end_ids: frozenset[int], label: str) -> None:
    require(answer.token_ids, f"{label} writes an answer without tokens.")
    require(
        len(answer.token_ids) <= _BUDGET, f"{label} writes {len(answer.token_ids)} tokens; the budget is {_BUDGET}."
    )
    require(not end_ids & {*answer.token_ids[:-1]}, f"{label} continues after a token that ends the answer.")
    ended = answer.token_ids[-1] in end_ids
    require(
        ended or len(answer.token_ids) == _BUDGET,
        f"{label} ends an answer after {counted(len(answer.token_ids), 'token')}, below the budget of {_BUDGET}, "
        "although the last token does not end answers.",
    )
    require(
        answer.finished is ended,
        f"{label}: finished is {answer.finished}, but judging by the answer's last token it should be {ended}.",
    )


def _check_greedy(expected: EngineStudent, prompt: list[int], answer: Decoded, label: str, tolerance: float) -> None:
    """Each token must be the most likely one, or nearly so: sums are in another order."""
    import torch

    ids = torch.tensor([[*prompt, *answer.token_ids]], device=expected.model.device)
    with torch.inference_mode():
        log_p = expected.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
    chosen = log_p.gather(1, ids[0, len(prompt) :, None])[:, 0]
    worst = float((log_p.amax(-1) - chosen).max())
    require(
        worst <= tolerance,
        f"{label} writes a token whose log-probability under transformers is {worst:.3f} nats below that of the most "
        "likely one. The engine reads a different prompt, changes the distribution, or runs a different student.",
    )


def _check_scores(found: EngineStudent, expected: EngineStudent, label: str, tolerance: float) -> None:
    solutions = [
        found.tokenizer.encode(problem.plain_solution, add_special_tokens=False) for problem in some_problems(4)
    ]
    written = [answer.token_ids for answer in _decode(expected, _prompts(found), frozenset())]
    passages = [
        Passage(str(index), prompt, ids)
        for index, (prompt, ids) in enumerate(zip(_prompts(found) * 2, [*solutions, *written], strict=True))
    ]
    scores, references = found.score(passages), expected.score(passages)
    require(len(scores) == len(passages), f"{label} scores {len(scores)} of {len(passages)} passages.")
    for index, (passage, score, reference) in enumerate(zip(passages, scores, references, strict=True)):
        require(
            len(score.log_p) == len(passage.token_ids),
            f"{label} scores {len(score.log_p)} of {len(passage.token_ids)} tokens of a passage.",
        )
        worst = max(abs(a - b) for a, b in zip(score.log_p, reference.log_p, strict=True))
        require(
            worst <= tolerance,
            f"{label} gives a token a log-probability that is {worst:.4f} nats away from that of transformers.",
        )
        if found.model is None:
            require(
                score.greedy is (index >= len(solutions)),
                f"{label}: greedy is {score.greedy} for tokens that transformers "
                f"{'writes' if index >= len(solutions) else 'does not write'} greedily.",
            )


def _prompts(student: EngineStudent) -> list[list[int]]:
    from kdprobe.models.conversation import prompt_ids

    return [prompt_ids(student.tokenizer, bare(problem)) for problem in some_problems(4)]


def _decode(
    student: EngineStudent,
    prompts: list[list[int]],
    end_ids: frozenset[int],
    *,
    settings: dict[str, Any] | None = None,
    seed: int = 0,
    draws_by_row: bool = False,
) -> list[Decoded]:
    from kdprobe.evaluation.engines.engine import Decoding

    decoding = Decoding(_BUDGET, end_ids, settings=settings or {}, seed=seed, draws_by_row=draws_by_row)
    return student.decode(prompts, decoding, lambda _: None)
