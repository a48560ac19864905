"""`kdprobe eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdprobe.api.evaluate import evaluate
from kdprobe.cli import options
from kdprobe.cli.complete.plugins import models

EPILOG = """\b
Examples:
  # the first 64 problems of GSM8K's test split
  kdprobe eval smollm2-135m-instruct --limit 64
  # two adapters and their base, which is loaded only once
  kdprobe eval BASE --adapter a --adapter b --with-base
  # your own problems, and answers saved for `kdprobe compare answers/*.jsonl`
  kdprobe eval model.gguf --problems mine.jsonl --out answers
  # what two students gained or lost on other benchmarks
  kdprobe eval BASE --adapter a --adapter b --with-base \\
      --task arc_easy --task mmlu --limit 500
  # with eight worked examples in the prompt
  kdprobe eval MODEL --task gsm8k_kdprobe_cot
  # behind an API
  kdprobe eval NAME --model-type local-chat-completions \\
      --model-args base_url=URL,num_concurrent=8
  # with vLLM, through the package kdprobe-vllm
  kdprobe eval BASE --adapter a --adapter b --engine vllm
"""


@options.calls(evaluate)
@click.command(epilog=EPILOG)
@click.argument("model", shell_complete=models)
@click.option("--revision", help="A commit, tag or branch of a model on the Hub.")
@options.students_options
@click.option("--with-base", is_flag=True, help="With adapters: also evaluate MODEL without one, under its own name.")
@options.problems_option
@options.settings_option("the problem source, the engine or a plugin's task")
@click.option(
    "--limit", type=click.IntRange(1, 2**31), help="Use the first N problems, or N random documents of a task."
)
@options.tasks_options
@options.sampling_options
@click.option("--batch-size", help="Problems per batch; by default, chosen to fit in memory and maximise throughput.")
@options.conversation_options
@options.dtype_option
@options.device_map_option
@options.engine_option
@click.option("--model-type", show_default=True, help="Any lm-eval model type, such as openai-chat-completions.")
@click.option("--model-args", metavar="K=V,…", help="lm-eval's arguments for this model type.")
@options.extractor_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the records and a page for exploring them, or FILE.jsonl for one model's records.",
)
@options.store_option
@options.plugin_options
@options.quiet_option
@options.json_option
def command(as_json: bool, model: str, **given: Any) -> None:
    """Evaluate any model: from the Hub, a folder or a GGUF file (optionally with adapters), or behind an API.

    By default, the problems are GSM8K's test split (from the Hub, or from the folder in KDPROBE_GSM8K); use --problems
    to choose others. Every batch of answers is saved before the next one starts. After an interruption, rerun the same
    command to resume. For models that run locally, log p(gold value) is also computed, given the reasoning in the gold
    solution.
    """
    from kdprobe.cli.show.evaluated import show_evaluated

    result = evaluate(model, **given)
    if as_json:
        click.echo(result.to_json())
    else:
        show_evaluated(result)
