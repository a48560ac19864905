"""The stage in which a model is examined: a student of an experiment, or any model by `kdprobe eval`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.errors import KdprobeError, NonFiniteError
from kdprobe.evaluation.ledger import Ledger
from kdprobe.evaluation.protocol import TASK_FORMAT, Protocol
from kdprobe.experiment.stages.context import StageContext, problems_digest, source_key
from kdprobe.experiment.stages.distill import diverged, trained_student
from kdprobe.experiment.stages.environment import environment
from kdprobe.experiment.store import Stage
from kdprobe.files import clean, read_json, write_json
from kdprobe.problems.problem import Problem
from kdprobe.students.student import Student

if TYPE_CHECKING:
    from kdprobe.models.load import LoadedModel

FORMAT = 7
RECORDS = "records.parquet"
ABSENT = "absent.json"
"""Stands in the place of the records of a student whose training diverged, or who overflows here, and says why."""
OVERFLOWED = "overflowed"
"""In `absent.json`: the training went well, and the evaluation came to numbers that are NaN or infinite."""
Records = list[dict[str, Any]]
"""One for each problem, in order."""


def evaluate_stage(context: StageContext, student: Student, distill: Stage | None) -> Stage:
    """lm-eval examines a student of an experiment.

    Args:
        context: The experiment.
        student: Who, without its adapter.
        distill: Its training, or `None` for the untouched base.
    """
    config = context.experiment.evaluation
    dtype = context.experiment.student.dtype
    protocol = Protocol(**config.model_dump(), dtype=dtype)
    problems = context.problems.test

    def answer(inputs: list[Path], scratch: Path, label: str) -> Records:
        loaded = context.pool.merged(trained_student(student, inputs), dtype=dtype)
        return answers_of(loaded, problems, protocol, scratch, label=label)

    return examination_stage(
        student.name,
        problems,
        protocol,
        identity={
            "student": context.student.as_key(),
            "source": source_key(context),
            "prompts": context.test_prompts(problems),
        },
        answer=answer,
        inputs=(distill,) if distill else (),
    )


def overflowed(folder: Path) -> dict[str, Any] | None:
    """Of an evaluation whose numbers were NaN or infinite, `reason` and `hint`; otherwise `None`.

    Args:
        folder: Of the evaluation's stage.
    """
    found = read_json(folder / ABSENT) if (folder / ABSENT).is_file() else {}
    return found if OVERFLOWED in found else None


def overflow_sentence(found: Mapping[str, Any]) -> str:
    """What to say of such an evaluation, after its student's name; a sentence of it is the last part."""
    return f"overflowed in its evaluation: {found['reason']}"


def examination_stage(
    name: str,
    problems: Sequence[Problem],
    protocol: Protocol,
    *,
    identity: Mapping[str, Any],
    answer: Callable[[list[Path], Path, str], Records],
    inputs: tuple[Stage, ...] = (),
    libraries: tuple[str, ...] = ("torch", "transformers", "peft", "lm-eval"),
) -> Stage:
    """A model is asked, and every answer is kept as it comes: a killed evaluation goes on.

    Args:
        name: What the model is called.
        problems: What it is asked.
        protocol: How.
        identity: Which model it is, besides what the inputs decide.
        answer: Asks it: `(folders of the inputs, scratch folder, label) -> records`.
        inputs: The stages that made it.
        libraries: Whose versions decide.
    """
    settings = {
        "format": FORMAT,
        **identity,
        "problems": problems_digest(problems),
        "protocol": protocol.as_row(),
        "task": TASK_FORMAT,
        "environment": environment(*libraries),
    }

    def work(folder: Path, input_folders: list[Path], scratch: Path) -> None:
        import pandas as pd

        if input_folders and (found := diverged(input_folders[0])):
            write_json(folder / ABSENT, found)
            return
        try:
            records = answer(input_folders, scratch, f"lm-eval: {name}")
        except NonFiniteError as error:
            if not input_folders:
                # Nobody trained this model: there is nothing to tell of, and the data type is the wrong one.
                raise
            # A result like any other: the same student would overflow again.
            write_json(folder / ABSENT, {OVERFLOWED: True, "reason": error.message, "hint": error.hint})
            return
        prompts = {(record.pop("prompt_form"), record.pop("by_server")) for record in records}
        conditions = _conditions(settings, prompts)
        rows = [
            {**record, "question": problem.question, "conditions": conditions}
            for problem, record in zip(problems, records, strict=True)
        ]
        pd.DataFrame(rows).to_parquet(folder / RECORDS)

    return Stage("evaluate", name, settings, inputs, work)


def answers_of(
    student: LoadedModel,
    problems: Sequence[Problem],
    protocol: Protocol,
    scratch: Path,
    *,
    label: str,
    shots: Sequence[Problem] = (),
) -> Records:
    """A model here answers the problems and reads their gold solutions; arguments as those of `evaluate`."""
    from kdprobe.evaluation.likelihood import gold_log_probabilities
    from kdprobe.evaluation.lm_eval_run import evaluate
    from kdprobe.evaluation.recording import PLAN

    ledger = Ledger(scratch / "answers.jsonl")
    records = evaluate(student, problems, protocol, label=label, ledger=ledger, shots=shots)
    gold = gold_log_probabilities(
        student,
        problems,
        batch_size=ledger[PLAN]["size"],
        label=label.replace("lm-eval", "log p(gold value)"),
        ledger=Ledger(scratch / "gold.jsonl"),
    )
    return [
        {**record, "log_p_gold_value": log_p.value, "log_p_gold_solution": log_p.solution, "gold_tokens": log_p.tokens}
        for record, log_p in zip(records, gold, strict=True)
    ]


def write_records(records: Path, file: Path) -> Path:
    """Copies a stage's records into a file of JSON lines, whole or not at all, and returns it.

    Raises:
        KdprobeError: It cannot be written.
    """
    import pyarrow.parquet as pq

    rows = [json.dumps(clean(row), ensure_ascii=False, allow_nan=False) for row in pq.read_table(records).to_pylist()]
    partial = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text("\n".join(rows) + "\n", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise KdprobeError(f"{file} cannot be written: {error.strerror}.", f"The records are in {records}.") from error
    return file


def _conditions(settings: Mapping[str, Any], prompts: set[tuple[str, bool]]) -> dict[str, dict[str, str]]:
    """How a model was examined, as `kdprobe.comparison.answers.Outputs` has it.

    Args:
        settings: Of its stage.
        prompts: The forms of the prompts, each with whether a server rendered it.
    """
    from kdprobe.models.load import concrete_dtype

    protocol, installation = settings["protocol"], settings["environment"]
    task = {"name": protocol["task"]} if protocol.get("task") else {}
    decoding = {name: str(protocol[name]) for name in ("temperature", "top_p")}
    if "student" in settings:
        decoding["dtype"] = concrete_dtype(protocol["dtype"], installation["device"])
    conversation = {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in settings.get("conversation", {}).items()
        if value is not None
    }
    # Examples that are drawn for each problem leave no form in common.
    prompt = {"form": next(iter(prompts))[0]} if len(prompts) == 1 else {}
    if any(by_server for _, by_server in prompts):
        # What the server's template made of them is not known, so all that it was told counts.
        prompt |= {"rendered": "by the server", "template_arguments": conversation["template_arguments"]}
        del conversation["date"]
    elif conversation:
        prompt["rendered"] = "here"
    return {
        "budget": {"tokens": str(protocol["max_new_tokens"])},
        **({"conversation": conversation} if conversation else {}),
        "decoding": decoding,
        **({"prompt": prompt} if prompt else {}),
        "task": {**task, "format": str(settings["task"])},
        "versions": dict(installation["libraries"]),
    }
