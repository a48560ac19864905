"""`kdprobe eval`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from kdprobe.cli.inputs import (
    is_finite,
    open_host,
    open_problems,
    read_conversation,
    read_settings,
    refuse_strays,
)
from kdprobe.cli.options import (
    adapters_option,
    conversation_options,
    dtype_option,
    extractor_option,
    json_option,
    plugin_options,
    problems_option,
    settings_option,
    store_option,
)
from kdprobe.errors import UsageError

if TYPE_CHECKING:
    from kdprobe.experiment.store import Stage
    from kdprobe.host.registry import Host
    from kdprobe.models.conversation import Conversation

HUGGING_FACE = "hf"

_OTHER = re.compile(r"[^\w.-]+")
"""What a name has that a file's should not."""

EPILOG = """\b
Examples:
  kdprobe eval smollm2-135m-instruct --limit 64             the first 64 problems of GSM8K's test part
  kdprobe eval BASE --adapter a --adapter b --with-base     three students, one base in memory
  kdprobe eval model.gguf --problems mine.jsonl --out answers
  kdprobe eval MODEL --task gsm8k_kdprobe_cot               after eight solved examples
  kdprobe eval NAME --model-type local-chat-completions --model-args base_url=URL,num_concurrent=8
  kdprobe eval MODEL --model-type vllm --batch-size 256
  kdprobe compare answers/*.jsonl                           what was written with --out
"""


def _temperature(_context: click.Context, _option: click.Parameter, given: float) -> float:
    from kdprobe.experiment.config import not_too_cold

    try:
        return not_too_cold(given)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


@click.command(epilog=EPILOG)
@click.argument("model")
@click.option("--revision", help="Of a model on the Hub: a commit, tag or branch.")
@adapters_option
@click.option("--with-base", is_flag=True, help="With adapters: examine MODEL without one, too.")
@problems_option
@settings_option("the problem source")
@click.option("--limit", type=click.IntRange(1, 2**31), help="The first so many problems.")
@click.option("--task", help="A form of the task; by default the bare question.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Token budget.")
@click.option("--temperature", type=float, callback=_temperature, default=0.0, show_default=True, help="0 is greedy.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="Nucleus.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the sampling.")
@click.option("--batch-size", help="Problems at once; by default as many as memory and throughput suggest.")
@conversation_options
@dtype_option
@click.option(
    "--model-type", default=HUGGING_FACE, show_default=True, help="Any of lm-eval's: vllm, openai-chat-completions…"
)
@click.option("--model-args", default="", metavar="K=V,…", help="lm-eval's arguments for such a model.")
@extractor_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the records here: a folder, or one model's FILE.jsonl."
)
@store_option
@plugin_options
@json_option
def command(  # noqa: PLR0917 - click passes them by name
    model: str,
    adapters: tuple[str, ...],
    extractor: str,
    out: Path | None,
    store_folder: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Examine any model: from the Hub, a folder, a GGUF file, with LoRA adapters, or behind an API.

    Problems are GSM8K's test part (from the Hub, or the folder that KDPROBE_GSM8K names) unless --problems says
    otherwise. Every answer is on the disk before the next ones are asked for: after an interruption the same command
    goes on and repeats none. Models that run here also read the gold solutions, for log p(gold value).
    """
    from dataclasses import asdict

    from kdprobe.cli.show.scores import show_scores
    from kdprobe.cli.show.tables import print_json
    from kdprobe.comparison.answers import read_outputs
    from kdprobe.comparison.reading.columns import Columns
    from kdprobe.comparison.scoring import scores
    from kdprobe.console import note
    from kdprobe.experiment.run import reproducible
    from kdprobe.experiment.stages.evaluate import RECORDS, write_records
    from kdprobe.experiment.store import Store

    host = open_host()
    extractors = host.all("extractors") if extractor == "all" else {extractor: host.create("extractors", extractor)}
    conversation = read_conversation(*(given.pop(name) for name in ("system", "date", "template_arguments")))
    stages = _stages(model, adapters, host, conversation, given)
    copies = _copies(out, list(stages))
    store = Store(Path(store_folder))
    store.prepare()
    shown: dict[str, Path] = {}
    found = []
    with reproducible():
        for name, stage in stages.items():
            if not store.make(stage):
                note(f"{name}: all answers are there already.")
            records = store.folder(stage) / RECORDS
            shown[name] = write_records(records, copies[name]) if copies else records
            # The store's own records, whatever becomes of the copies.
            found += scores(read_outputs(records, Columns(), source=str(shown[name])), extractors)
    if as_json:
        print_json([asdict(score) | {"conversation": conversation.as_key()} for score in found])
    else:
        show_scores(found, {str(file): name for name, file in shown.items()})
        if conversation.sentence:
            note(conversation.sentence)
        for name, file in shown.items():
            note(f"Records of {name}: {file}")


def _stages(
    model: str, adapters: tuple[str, ...], host: Host, conversation: Conversation, given: dict[str, Any]
) -> dict[str, Stage]:
    """Name to stage of all models that are examined."""
    from kdprobe.evaluation.protocol import TASKS, Protocol
    from kdprobe.experiment.eval_models import eval_request, lm_eval_stage, local_eval_stages
    from kdprobe.models.adapters import named_adapters
    from kdprobe.models.reference import resolve

    if given["task"] not in (None, *TASKS):
        raise UsageError(f"There is no task {given['task']!r}.", f"There are {', '.join(TASKS)}.")
    here = given["model_type"] == HUGGING_FACE
    if here and given["model_args"]:
        raise UsageError("--model-args is for lm-eval's other model types.", "Name one with --model-type.")
    if not here and (adapters or given["with_base"] or given["revision"]):
        raise UsageError("--adapter, --with-base and --revision are for models that run here.", "Use --model-args.")
    size = given["batch_size"]
    protocol = Protocol(
        **{name: given[name] for name in ("max_new_tokens", "temperature", "top_p", "seed", "dtype", "task")},
        batch_size=_batch_size(size) if here else 1,
    )
    # Models first: problems may have to be fetched.
    base = resolve(model, given["revision"]) if here else None
    named = named_adapters(adapters)
    problems = given["problems"]
    settings = read_settings(given["settings"])
    refuse_strays(settings, {problems})
    source = open_problems(host, problems, settings)
    request = eval_request(source, problems, given["limit"], protocol, conversation, finite=is_finite(host, problems))
    if base is not None:
        return local_eval_stages(base, named, request, with_base=given["with_base"])
    stage = lm_eval_stage(model, given["model_type"], given["model_args"], size, request)
    return {stage.name: stage}


def _batch_size(text: str | None) -> int | Literal["auto"]:
    if text in (None, "auto"):
        return "auto"
    if not text.isdecimal() or not int(text):
        raise UsageError(f"The batch size {text!r} is neither auto nor a whole number above 0.", "Mend --batch-size.")
    return int(text)


def _copies(out: Path | None, names: Sequence[str]) -> dict[str, Path]:
    """Where the records of each model are copied to; nothing where they stay in the store only."""
    if out is None:
        return {}
    if out.suffix == ".jsonl":
        if len(names) > 1:
            raise UsageError(f"{out} cannot hold the records of {len(names)} models.", "Give a folder to --out.")
        return {names[0]: out}
    # Some file systems take composed letters for decomposed ones, and A for a.
    stems = {name: _OTHER.sub("-", unicodedata.normalize("NFC", name)).strip("-.") for name in names}
    if nameless := [name for name, stem in stems.items() if not stem]:
        raise UsageError(f"The name {nameless[0]!r} makes no file name.", "Give another: --adapter NAME=PATH.")
    by_file: dict[str, str] = {}
    for name, stem in stems.items():
        other = by_file.setdefault(stem.casefold(), name)
        if other != name:
            raise UsageError(
                f"The records of {other!r} and of {name!r} would go into one file, {out / stem}.jsonl.",
                "Give other names: --adapter NAME=PATH.",
            )
    return {name: out / f"{stem}.jsonl" for name, stem in stems.items()}
