"""`kdprobe eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdprobe.api.evaluate import evaluate
from kdprobe.cli.options import (
    adapters_option,
    calls,
    conversation_options,
    dtype_option,
    extractor_option,
    json_option,
    plugin_options,
    problems_option,
    sampling_options,
    settings_option,
    store_option,
)

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


@calls(evaluate)
@click.command(epilog=EPILOG)
@click.argument("model")
@click.option("--revision", help="Of a model on the Hub: a commit, tag or branch.")
@adapters_option
@click.option("--with-base", is_flag=True, help="With adapters: examine MODEL without one, too.")
@problems_option
@settings_option("the problem source")
@click.option("--limit", type=click.IntRange(1, 2**31), help="The first so many problems.")
@click.option("--task", help="A form of the task; by default the bare question.")
@sampling_options
@click.option("--batch-size", help="Problems at once; by default as many as memory and throughput suggest.")
@conversation_options
@dtype_option
@click.option("--model-type", show_default=True, help="Any of lm-eval's: vllm, openai-chat-completions…")
@click.option("--model-args", metavar="K=V,…", help="lm-eval's arguments for such a model.")
@extractor_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the records here: a folder, or one model's FILE.jsonl."
)
@store_option
@plugin_options
@json_option
def command(as_json: bool, model: str, **given: Any) -> None:
    """Examine any model: from the Hub, a folder, a GGUF file, with LoRA adapters, or behind an API.

    Problems are GSM8K's test part (from the Hub, or the folder that KDPROBE_GSM8K names) unless --problems says
    otherwise. Every answer is on the disk before the next ones are asked for: after an interruption the same command
    goes on and repeats none. Models that run here also read the gold solutions, for log p(gold value).
    """
    from kdprobe.cli.show.scores import show_scores
    from kdprobe.console import note

    result = evaluate(model, **given)
    if as_json:
        click.echo(result.to_json())
        return
    show_scores(result.details, {str(file): name for name, file in result.files.items()})
    if result.conversation.sentence:
        note(result.conversation.sentence)
    for name, file in result.files.items():
        note(f"Records of {name}: {file}")
