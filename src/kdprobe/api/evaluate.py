"""Evaluating models on problems."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.evaluated import EvaluateResult
from kdprobe.api.given.engines import given_engine, recommend
from kdprobe.api.given.eval_stages import HUGGING_FACE, eval_stages, protocol_of
from kdprobe.api.given.inputs import checked_options, conversation_of, problem_source
from kdprobe.api.given.record_files import ONE_FILE, record_files
from kdprobe.api.given.tasks import Tasks, drawn_tasks, given_tasks, refuse_impossible, task_folders, with_options
from kdprobe.api.session import AnyPath, calling, open_store

if TYPE_CHECKING:
    import datetime as dt

    from kdprobe.api.given.inputs import Options, Problems, ProblemSource
    from kdprobe.comparison.scoring import Score
    from kdprobe.models.devices.placement import DeviceMap
    from kdprobe.models.reference import Dtype, Quantization


def evaluate(
    model: str,
    *,
    revision: str | None = None,
    adapters: Mapping[str, AnyPath] | Sequence[str] = (),
    with_base: bool = False,
    problems: Problems = "gsm8k",
    options: Options | None = None,
    limit: int | None = None,
    tasks: Tasks = (),
    include_path: AnyPath | Sequence[AnyPath] = (),
    num_fewshot: int | None = None,
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    samples: int = 1,
    batch_size: int | str | None = None,
    system: str | None = None,
    date: dt.date | str | None = None,
    template_arguments: Mapping[str, Any] | None = None,
    dtype: Dtype = "auto",
    quantization: Quantization | None = None,
    device_map: DeviceMap | None = None,
    engine: str = "transformers",
    model_type: str = "hf",
    model_args: str = "",
    extractor: str = "robust",
    out: AnyPath | None = None,
    store: AnyPath | None = None,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    progress: bool = True,
) -> EvaluateResult:
    """Evaluates any model, as `kdprobe eval` does.

    Every batch of answers is saved before the next one starts, so repeat the call after an interruption to resume.

    Args:
        model: An alias, a folder, a GGUF file, an id on the Hub, or a model behind an API.
        revision: A commit, tag or branch of a model on the Hub.
        adapters: A dict that maps names to folders, Hub ids or built-in adapters (`kdprobe:NAME`); or a list of these,
            each named after the last part of its path.
        with_base: With adapters: also evaluate the model without one; its answers have the model's name.
        problems: A problem source, a `.jsonl` file, a list of `kdprobe.Problem`, or a table (`pandas.DataFrame` or a
            list of dicts) with `question` and `answer`; every answer ends with a line `#### value`.
        options: Options of the problem source, the engine and plugins' tasks: a dict that maps a name to its options.
        limit: Use only the first N problems; of other tasks, N documents drawn at random.
        tasks: lm-eval's tasks, groups or tags: a name, a dict with `name` and any of `limit`, `num_fewshot`,
            `chat_template`, `metric`, `seed` (of the draw) and `options` (of a plugin's task), or a list of these. By
            default, the task with the bare question; of its forms, at most one. The other arguments about problems and
            decoding are for that task; all others use their own data and settings, as plain `lm_eval` does.
        include_path: A folder with tasks as YAML, or several.
        num_fewshot: The number of examples in the prompts of the other tasks.
        max_new_tokens: Token budget.
        temperature: Sampling temperature; 0 decodes greedily.
        top_p: Nucleus sampling.
        seed: Sampling seed.
        samples: Answers to each problem of the deciding task; more than one requires a temperature above 0.
        batch_size: Problems per batch, or `auto`; by default, chosen to fit memory and maximise throughput.
        system: A system message for conversations without one.
        date: The date passed to chat templates that use one; a fixed date by default.
        template_arguments: Arguments of the chat template, such as `enable_thinking`.
        dtype: Data type of the weights; `auto` is float32 on a CPU and bfloat16 on a GPU.
        quantization: Quantise the weights when they are loaded, with bitsandbytes: `nf4` (4 bits) or `int8` (8 bits).
            Adapters stay beside them.
        device_map: How to spread the weights over all GPUs: `auto`, `balanced`, `balanced_low_0` or `sequential`; by
            default, one device holds them.
        engine: What runs the models: `transformers`, or an engine from a plugin, such as `vllm`.
        model_type: `hf`, or any other lm-eval model type, which kdprobe does not run itself:
            `openai-chat-completions`, ...
        model_args: lm-eval's arguments for this model type, `K=V,...`.
        extractor: An extractor's name, or `all`.
        out: Where to write the records: a folder, which also gets `eval.html`, a page to explore the answers and, for
            several models, their paired differences (with `with_base`, from the model without an adapter); or
            `FILE.jsonl` for one model.
        store: The folder that holds stages and runs; the default is the value of `KDPROBE_STORE`, else `kdprobe-runs`.
        plugins_dir: A folder from which to load more plugins.
        no_plugins: Load only kdprobe's own plugins.
        progress: Whether to print progress and notes to stderr.

    Raises:
        UsageError: An argument has an invalid value, arguments contradict each other, or a name is unknown.
        KdprobeError: A model or the problems cannot be read, or answering failed; answers so far are saved.
    """
    from kdprobe.api.given.done_tasks import document_names, done_tasks, task_results
    from kdprobe.api.results.evaluated_students import evaluated_students
    from kdprobe.comparison.answers import read_outputs
    from kdprobe.comparison.arms import Arm
    from kdprobe.comparison.engine_words import engine_words
    from kdprobe.comparison.reading.columns import Columns
    from kdprobe.comparison.scoring import scores
    from kdprobe.console import note
    from kdprobe.experiment.executors.reproducible import reproducible
    from kdprobe.experiment.stages.evaluate import RECORDS, write_records
    from kdprobe.models.reference import short_name
    from kdprobe.report.eval_page import write_eval_page

    with calling(progress=progress) as call:
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        extractors = host.all("extractors") if extractor == "all" else {extractor: host.create("extractors", extractor)}
        conversation = conversation_of(system, date, template_arguments)
        form, others, decides = given_tasks(tasks, limit=limit, num_fewshot=num_fewshot)
        folders = task_folders(include_path, others)
        protocol = protocol_of(
            form,
            batch_size if model_type == HUGGING_FACE else 1,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            samples=samples,
            dtype=dtype,
        )
        refuse_impossible(limit, samples, decides=decides)
        given = checked_options(options)
        others = with_options(others, given, {engine, *([problems] if decides and isinstance(problems, str) else [])})
        runner = given_engine(host, engine, given)

        def source() -> ProblemSource:
            return problem_source(host, problems, given)

        evaluations = eval_stages(
            model,
            source if decides else None,
            lambda: drawn_tasks(others, folders, host),
            protocol,
            conversation,
            limit=limit,
            revision=revision,
            adapters=adapters,
            with_base=with_base,
            model_type=model_type,
            model_args=model_args,
            batch_size=batch_size,
            quantization=quantization,
            engine=runner,
            device_map=device_map,
        )
        stages = evaluations.stages
        copies = record_files(Path(out) if out else None, [*stages, *document_names(evaluations.tasks)])
        opened = open_store(store)
        opened.prepare()
        files, stored = {}, {}
        arms: list[Arm] = []
        found: list[Score] = []
        called: list[str] = []
        if model_type == HUGGING_FACE:
            recommend(host, runner, [*stages.values()], opened)
        with reproducible(), closing(runner):
            for name, stage in stages.items():
                if not opened.make(stage):
                    note(f"{name}: all answers are already in the store.")
                records = stored[name] = opened.folder(stage) / RECORDS
                files[name] = write_records(records, copies[name]) if copies else records
                # The store's own records, in case the copies are changed.
                arms.append(Arm(name, read_outputs(records, Columns(), source=str(files[name]))))
                scored = scores(arms[-1].outputs, extractors)
                found += scored
                called += [name] * len(scored)
            done = done_tasks(opened, evaluations.tasks, copies)
        page = None
        if arms and out is not None and Path(out).suffix != ONE_FILE:
            page = write_eval_page(
                Path(out),
                arms,
                host.all("extractors"),
                "robust" if extractor == "all" else extractor,
                model=short_name(model),
                source=Path(problems).name if isinstance(problems, str | os.PathLike) else "a table",
                protocol=protocol,
                baseline=arms[0].name if with_base and adapters else None,
            )
        base = next((name for name, student in evaluations.students.items() if student.adapter is None), None)
        return EvaluateResult(
            tuple(found),
            tuple(called),
            files,
            stored,
            conversation,
            evaluated_students(evaluations, dict(zip(reversed(called), reversed(found), strict=True))),
            base,
            next((engine_words(arm.outputs.conditions) for arm in arms), ""),
            page,
            task_results(done, base if adapters else None),
            warnings=tuple(call.warnings),
        )
