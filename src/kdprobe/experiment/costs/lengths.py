"""How many tokens prompts and solutions have, as the models' own tokenizers count a sample of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from kdprobe.experiment.plan import Plan
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.transfer import FIDELITY
from kdprobe.experiment.store import Store
from kdprobe.files import read_json
from kdprobe.models.outline.reader import Reader
from kdprobe.models.outline.room import Lengths
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, bare

if TYPE_CHECKING:
    from kdprobe.evaluation.tasks.load import DrawnTask

Item = TypeVar("Item")
_SAMPLE = 64
"""Texts that are counted; the rest are taken to be like them."""
_WRITING, _MOST_NEW = "generate_until", 256
"""lm-eval's name for requests of text, and the tokens that it allows unless a task says otherwise."""


@dataclass(frozen=True)
class TextLengths:
    """Tokens of what models read.

    Attributes:
        primed: What the teacher reads, by strategy.
        taught: What the student reads in training, by strategy.
        question: A transfer problem's bare prompt.
        solution: The gold solution to a transfer problem.
        tested: A test prompt.
        test_solution: The gold solution to a test problem.
    """

    primed: Mapping[str, Lengths]
    taught: Mapping[str, Lengths]
    question: Lengths
    solution: Lengths
    tested: Lengths
    test_solution: Lengths


def text_lengths(context: StageContext, conversations: Mapping[str, Mapping[str, PromptPair]]) -> TextLengths:
    """Counts tokens of a sample of what models read; raises like `Reader.lengths`.

    Args:
        context: The experiment.
        conversations: Conversations by strategy and problem id.
    """
    student = context.student_reader
    teacher = context.teacher_reader if context.uses_teacher else student
    pairs = {strategy: _some([*built.values()]) for strategy, built in conversations.items()}
    return TextLengths(
        {strategy: teacher.lengths([pair.teacher for pair in some]) for strategy, some in pairs.items()},
        {strategy: student.lengths([pair.student for pair in some]) for strategy, some in pairs.items()},
        *_asked(student, context.problems.transfer),
        *_asked(student, context.problems.test),
    )


@dataclass(frozen=True)
class TaskLengths:
    """What a model reads and may write for a document of a task, on average.

    Attributes:
        texts: Texts whose likelihood is asked for; choices of one token share theirs.
        read: Tokens of these texts.
        answers: Answers that are written.
        prompt: Tokens of the prompt of an answer.
        new: Tokens that an answer may have.
        longest: Tokens of the longest text, or of the longest prompt with its answer.
    """

    texts: float
    read: float
    answers: float
    prompt: float
    new: float
    longest: float


def task_lengths(tokenizer: Any, task: DrawnTask) -> TaskLengths | None:
    """Counts tokens of what lm-eval asks about a sample of documents, without a chat template; `None` if that fails."""
    read: list[int] = []
    prompts: list[tuple[int, int]] = []
    documents = _some([(task.leaves[name], index) for name, indices in task.documents.items() for index in indices])
    try:
        for leaf, index in documents:
            texts = set()
            for request in _requests(leaf, leaf.eval_docs[index]):
                first, *rest = request.args
                if request.request_type == _WRITING:
                    prompts.append((len(_ids(tokenizer, first)), rest[0].get("max_gen_toks") or _MOST_NEW))
                else:
                    # The last token is only predicted.
                    texts.add(tuple(_ids(tokenizer, "".join([first, *rest]))[:-1]))
            read += map(len, texts)
    except Exception:  # noqa: BLE001 - a task may be any code of lm-eval's; what it costs is then unknown
        return None
    count = len(documents)
    answers = max(1, len(prompts))
    longest = max([*read, *(prompt + new for prompt, new in prompts)], default=0)
    prompt, new = (sum(each) / answers for each in zip(*prompts, strict=True)) if prompts else (0.0, 0.0)
    return TaskLengths(len(read) / count, sum(read) / count, len(prompts) / count, prompt, new, longest)


def _requests(leaf: Any, document: Any) -> list[Any]:
    """What lm-eval asks about a document."""
    shown = leaf.get_config("num_fewshot") or 0
    context = leaf.fewshot_context(document, num_fewshot=shown)
    found = leaf.construct_requests(doc=document, ctx=context, metadata=("", 0, 1))
    return found if isinstance(found, list) else [found]


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _asked(reader: Reader, problems: Sequence[Problem]) -> tuple[Lengths, Lengths]:
    """Tokens of bare prompts, and of gold solutions."""
    some = _some(problems)
    prompts = [bare(problem) for problem in some]
    alone, followed = reader.lengths(prompts), reader.lengths(prompts, [problem.plain_solution for problem in some])
    return alone, Lengths(followed.mean - alone.mean, max(0.0, followed.longest - alone.longest))


def _some(items: Sequence[Item]) -> Sequence[Item]:
    return items[:: max(1, len(items) // _SAMPLE)][:_SAMPLE]


def mean_answer(store: Store, manifests: list[dict[str, Any]], plan: Plan) -> float | None:
    """Mean tokens of answers in finished transfer sets of the same teacher with the same budget."""
    planned = {stage.kind: stage.settings for stage in plan.stages}.get("transfer")
    lengths = []
    for manifest in manifests:
        if planned and manifest["kind"] == "transfer" and _request(manifest["settings"]) == _request(planned):
            file = store.folder_of("transfer", manifest["key"]) / FIDELITY
            lengths += [read_json(file)["mean_tokens"]] if file.is_file() else []
    return sum(lengths) / len(lengths) if lengths else None


def _request(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    return settings["teacher"], settings["texts"], settings["sampling"]["max_new_tokens"]
