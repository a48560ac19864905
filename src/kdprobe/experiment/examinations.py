"""What `kdprobe eval` does: models and adapters are examined outside experiments, each in a stage of its own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.evaluation.ledger import Ledger
from kdprobe.evaluation.protocol import COMPLETION, Protocol, task_of
from kdprobe.experiment.evaluating import Records, answers_of, evaluate_stage
from kdprobe.experiment.store import Stage, digest
from kdprobe.host.registry import Host
from kdprobe.models.adapters import AdapterRecord
from kdprobe.models.reference import ModelRecord, digest_files
from kdprobe.problems.draw import Source, refuse_twins
from kdprobe.problems.problem import Problem

if TYPE_CHECKING:
    from kdprobe.models.load import LoadedModel

_FINITE = {"gsm8k", "jsonl"}
_MOST_SHOTS, _SOME_SHOTS = 7_473, 64
"""From so many transfer problems a few-shot task takes its examples: from all of GSM8K's train part, as lm-eval's own
task does; of a source without an end from some."""


@dataclass(frozen=True)
class Exam:
    """What models are asked, and how.

    Attributes:
        problems: The problems.
        shots: What a few-shot task takes its examples from; empty where it needs none.
        protocol: How; without a task it is the bare question in the form that the model has.
    """

    problems: Sequence[Problem]
    shots: Sequence[Problem]
    protocol: Protocol


def make_exam(host: Host, source: str, options: str, limit: int | None, protocol: Protocol) -> Exam:
    """Takes problems from a source.

    Args:
        host: The plugins.
        source: A problem source's name, or a JSONL file.
        options: Of the source, as in TOML: `templates = [6, 10], seed = 1`.
        limit: The first so many test problems; `None` takes all.
        protocol: How models are asked.

    Raises:
        UsageError: There is no such source, its options have mistakes, or it needs a limit.
        KdprobeError: The source has fewer problems, or one of them twice.
    """
    shown = "_fewshot" in (protocol.task or "")
    if source.endswith(".jsonl"):
        from kdprobe.problems.sources.jsonl import read

        if shown:
            raise UsageError("A file of problems has no solved ones to show.", "Use --source jsonl with two files.")
        return Exam(_first(lambda _: read(Path(source)), limit), (), protocol)
    if limit is None and source not in _FINITE:
        raise UsageError(f"The problem source {source!r} may have no end.", "Say how many problems with --limit.")
    try:
        made = host.make("problem-sources", source, tomllib.loads(f"options = {{{options}}}")["options"])
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--source-options is not TOML: {error}.", "Write: templates = [6, 10], seed = 1") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise UsageError(
            f"The options of the source {source!r} have mistakes: {wrong}.", "See --source-options."
        ) from error
    pool = islice(made("transfer"), _MOST_SHOTS if source in _FINITE else _SOME_SHOTS)
    shots = tuple(pool) if shown else ()
    return Exam(_first(made, limit), shots, protocol)


def _first(source: Source, limit: int | None) -> tuple[Problem, ...]:
    problems = tuple(islice(source("test"), limit))
    if limit is not None and len(problems) < limit:
        raise KdprobeError(f"The source has {len(problems)} problems, {limit} are asked for.", "Lower --limit.")
    refuse_twins(problems, "test")
    return problems


def local_stages(
    base: ModelRecord, adapters: Mapping[str, AdapterRecord], exam: Exam, *, with_base: bool
) -> dict[str, Stage]:
    """A stage for each model that runs here; all share one base, which is loaded when the first needs it.

    Args:
        base: The base.
        adapters: Name to adapter.
        exam: What they are asked.
        with_base: Whether the base is examined too; without adapters it always is.

    Returns:
        Name to stage.
    """
    from kdprobe.models.adapters import applied
    from kdprobe.models.conversation import template_digest
    from kdprobe.models.load import concrete_dtype, default_device, load, load_tokenizer

    tokenizer = load_tokenizer(base)
    task = task_of(exam.protocol, chat=bool(tokenizer.chat_template))
    dtype = concrete_dtype(exam.protocol.dtype, default_device())
    protocol = replace(exam.protocol, task=task, dtype=dtype)
    identity = {
        "student": base.as_provenance(),
        "template": template_digest(tokenizer),
        "shots": digest([problem.as_row() for problem in exam.shots]),
    }

    @cache
    def loaded() -> LoadedModel:
        return load(base, dtype=dtype)

    def stage(name: str, adapter: AdapterRecord | None) -> Stage:
        def answer(_made: list[Path], scratch: Path, label: str) -> Records:
            student = applied(loaded(), adapter) if adapter else nullcontext(loaded())
            return answers_of(student, exam.problems, protocol, scratch, label=label, shots=exam.shots)

        which = {"adapter": adapter.digest} if adapter else {}
        return evaluate_stage(name, exam.problems, protocol, identity=identity | which, answer=answer)

    own = base.name if _short(base.name) in adapters else _short(base.name)
    students: dict[str, AdapterRecord | None] = {own: None} if with_base or not adapters else {}
    return {name: stage(name, adapter) for name, adapter in (students | dict(adapters)).items()}


def other_stage(model: str, model_type: str, arguments: str, batch_size: str | None, exam: Exam) -> Stage:
    """A stage for a model that one of lm-eval's other classes runs, or asks over the network.

    What stands behind a name is not known here: the key has the name, the arguments, and the digest of a folder.

    Args:
        model: Its name, or a folder.
        model_type: lm-eval's.
        arguments: lm-eval's `--model_args`.
        batch_size: lm-eval's `--batch_size`; `None` leaves it to the class.
        exam: What it is asked.
    """
    from lm_eval.utils import simple_parse_args_string

    parsed = simple_parse_args_string(arguments)
    given = parsed if {"pretrained", "model"} & parsed.keys() else {"pretrained": model, **parsed}
    chat = "chat" in model_type or not model_type.endswith("completions")
    protocol = replace(exam.protocol, task=task_of(exam.protocol, chat=True) if chat else _completion(exam.protocol))
    there = Path(model).is_dir()
    package = model_type.partition("-")[0]

    def answer(_made: list[Path], scratch: Path, label: str) -> Records:
        from lm_eval.api.registry import get_model

        from kdprobe.evaluation.harness import examine, hushed
        from kdprobe.evaluation.watched import Watching

        try:
            with hushed():
                kind = get_model(model_type)
                watched: Any = type("Watched", (Watching, kind), {})
                asked = watched.create_from_arg_obj(given, {"batch_size": batch_size})
            ledger = Ledger(scratch / "answers.jsonl")
            task = protocol.task or ""
            return examine(asked, exam.problems, protocol, task=task, label=label, ledger=ledger, shots=exam.shots)
        except KdprobeError:
            raise
        except Exception as error:
            # Any library, any server: what they raise is theirs.
            told = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise KdprobeError(
                f"lm-eval's model type {model_type!r} failed: {told}",
                "Check --model-type and --model-args; what was answered is kept, the same command goes on.",
            ) from error

    identity = {
        "model": model,
        "digest": digest_files([file for file in Path(model).iterdir() if file.is_file()]) if there else None,
        "model_type": model_type,
        "model_args": parsed,
        "batch_size": batch_size,
        "shots": digest([problem.as_row() for problem in exam.shots]),
    }
    libraries = ("lm-eval", *({package} & {"vllm", "sglang"}))
    return evaluate_stage(_short(model), exam.problems, protocol, identity=identity, answer=answer, libraries=libraries)


def _completion(protocol: Protocol) -> str:
    task = task_of(protocol, chat=False)
    return task if task.endswith(COMPLETION) else f"{task}{COMPLETION}"


def adapter_names(paths: Sequence[str]) -> list[str]:
    """What adapters are called: by the last parts of their paths, as many as tell them apart.

    Raises:
        UsageError: One is given twice.
    """
    parts = [Path(path).expanduser().absolute().parts for path in paths]
    if len(set(parts)) < len(parts):
        raise UsageError("An adapter is given twice.", "Give each once.")
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(some[-count:]) for some in parts]
        if len(set(names)) == len(names):
            return names
    return []


def _short(model: str) -> str:
    """A folder's or file's name; other names as they are."""
    path = Path(model).expanduser()
    return path.resolve().name if path.exists() else model
