"""The stage in which a model is evaluated: a student of an experiment, or any model given to `kdprobe eval`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.errors import KdprobeError
from kdprobe.evaluation.ledger import Ledger
from kdprobe.evaluation.protocol import TASK_FORMAT, Protocol
from kdprobe.experiment.parts.divide import part_name
from kdprobe.experiment.stages.absence import Records, records_or_absence
from kdprobe.experiment.stages.context import StageContext, problems_digest, source_key
from kdprobe.experiment.stages.distill import trained_student
from kdprobe.experiment.stages.engine import ChosenEngine, engine_name
from kdprobe.experiment.stages.environment import environment
from kdprobe.experiment.stages.stage import Stage, with_resources
from kdprobe.files import clean
from kdprobe.models.outline.device import concrete_dtype
from kdprobe.models.reference import ModelRecord
from kdprobe.problems.problem import Problem
from kdprobe.students.student import Student

if TYPE_CHECKING:
    from kdprobe.evaluation.engines.engine import EngineStudent

FORMAT = 7
RECORDS = "records.parquet"


@with_resources("evaluate")
def evaluate_stage(
    context: StageContext,
    student: Student,
    distill: Stage | None,
    samples: int | None = None,
    part: tuple[int, int] | None = None,
) -> Stage:
    """Evaluates a student of an experiment with lm-eval.

    Args:
        context: The experiment.
        student: The student, without its adapter.
        distill: Its training, or `None` for the untrained base.
        samples: Answers to each problem, instead of the config's.
        part: Which part of how many the context's test problems are, counted from 0, if they are not all.
    """
    config = context.experiment.evaluation
    decoding = config.decoding | ({"samples": samples} if samples else {})
    protocol = Protocol(**decoding, dtype=context.experiment.student.dtype)
    problems = context.problems.test

    def answer(inputs: list[Path], scratch: Path, label: str) -> Records:
        loaded = context.load(trained_student(student, inputs))
        return answers_of(loaded, problems, protocol, scratch, label=label)

    return examination_stage(
        part_name(student.name, *part) if part else student.name,
        problems,
        protocol,
        identity={
            "student": context.student.as_key(),
            "source": source_key(context),
            "prompts": context.test_prompts(problems),
        },
        answer=answer,
        inputs=(distill,) if distill else (),
        engine=context.engine,
        base=context.student,
    )


def examination_stage(
    name: str,
    problems: Sequence[Problem],
    protocol: Protocol,
    *,
    identity: Mapping[str, Any],
    answer: Callable[[list[Path], Path, str], Records],
    inputs: tuple[Stage, ...] = (),
    libraries: tuple[str, ...] = ("torch", "transformers", "peft", "lm-eval"),
    base: ModelRecord | None = None,
    engine: ChosenEngine | None = None,
) -> Stage:
    """A model answers problems, and every answer is saved as it arrives, so that a killed evaluation resumes.

    Args:
        name: The model's name.
        problems: The problems.
        protocol: How the model is evaluated.
        identity: Which model it is, besides what the inputs determine.
        answer: Asks the model: `(folders of the inputs, scratch folder, label) -> records`.
        inputs: The stages that made it.
        libraries: Libraries whose versions affect the answers.
        base: The model without its adapter, if kdprobe loads it.
        engine: The engine that runs the model, if it is one of kdprobe's.
    """
    settings: dict[str, Any] = {
        "format": FORMAT,
        **identity,
        "problems": problems_digest(problems),
        "protocol": protocol.as_row(),
        "task": TASK_FORMAT,
        "environment": environment(*libraries),
    }
    if engine:
        settings = engine.added_to(settings)

    def work(folder: Path, input_folders: list[Path], scratch: Path) -> None:
        import pandas as pd

        def asked() -> Records:
            return answer(input_folders, scratch, f"lm-eval: {name}")

        if (records := records_or_absence(folder, input_folders, asked)) is None:
            return
        prompts = {(record.pop("prompt_form"), record.pop("by_server")) for record in records}
        conditions = _conditions(settings, prompts, base)
        rows = [
            {**record, "question": problem.question, "conditions": conditions}
            for problem, record in zip(protocol.each_sample(problems), records, strict=True)
        ]
        pd.DataFrame(rows).to_parquet(folder / RECORDS)

    return Stage("evaluate", name, settings, inputs, work, len(problems) * protocol.samples)


def answers_of(
    student: EngineStudent,
    problems: Sequence[Problem],
    protocol: Protocol,
    scratch: Path,
    *,
    label: str,
    shots: Sequence[Problem] = (),
) -> Records:
    """A student answers the problems and reads their gold solutions; arguments as for `evaluate`."""
    from kdprobe.evaluation.likelihood import gold_log_probabilities, gold_sequences
    from kdprobe.evaluation.lm_eval_run import evaluate
    from kdprobe.evaluation.recording import PLAN

    # Before the first answer, because it refuses problems.
    sequences = gold_sequences(student, problems)
    ledger = Ledger(scratch / "answers.jsonl")
    records = evaluate(student, problems, protocol, label=label, ledger=ledger, shots=shots)
    gold = gold_log_probabilities(
        student,
        sequences,
        batch_size=ledger[PLAN]["size"],
        label=label.replace("lm-eval", "log p(gold value)"),
        ledger=Ledger(scratch / "gold.jsonl"),
    )
    return [
        {**record, "log_p_gold_value": log_p.value, "log_p_gold_solution": log_p.solution, "gold_tokens": log_p.tokens}
        for record, log_p in zip(records, protocol.each_sample(gold), strict=True)
    ]


def write_records(records: Path, file: Path) -> Path:
    """Writes a stage's records to a JSON Lines file, completely or not at all, and returns its path.

    Raises:
        KdprobeError: The file cannot be written.
    """
    import pyarrow.parquet as pq

    rows = [json.dumps(clean(row), ensure_ascii=False, allow_nan=False) for row in pq.read_table(records).to_pylist()]
    partial = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text("\n".join(rows) + "\n", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise KdprobeError(f"Cannot write {file}: {error.strerror}.", f"The records are in {records}.") from error
    return file


def _conditions(
    settings: Mapping[str, Any], prompts: set[tuple[str, bool]], base: ModelRecord | None
) -> dict[str, dict[str, str]]:
    """How a model was evaluated, in the form of `kdprobe.comparison.answers.Outputs`.

    Args:
        settings: The settings of its stage.
        prompts: The forms of the prompts, each with whether a server rendered it.
        base: The model without its adapter, if kdprobe loaded it.
    """
    protocol, installation = settings["protocol"], settings["environment"]
    task = {"name": protocol["task"]} if protocol.get("task") else {}
    decoding = {name: str(protocol[name]) for name in ("temperature", "top_p", "samples") if name in protocol}
    if "student" in settings:
        decoding["dtype"] = concrete_dtype(protocol["dtype"], installation["device"])
        decoding["engine"] = engine_name(settings)
    if base and base.is_packed:
        decoding["weights"] = f"quantised ({base.quantisation}), adapters not merged"
    conversation = {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in settings.get("conversation", {}).items()
        if value is not None
    }
    # If examples are drawn for each problem, the prompts have no common form.
    prompt = {"form": next(iter(prompts))[0]} if len(prompts) == 1 else {}
    if any(by_server for _, by_server in prompts):
        # It is unknown what the server's template uses, so everything sent to it counts.
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
