"""The options that several commands share, with one decorator for each."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from kdprobe.api.session import DEFAULT_STORE, NO_PLUGINS, PLUGINS_DIR, STORE
from kdprobe.cli.complete.plugins import provided
from kdprobe.cli.inputs import read_options, read_template_arguments
from kdprobe.models.devices.placement import DeviceMap
from kdprobe.models.reference import Dtype, Quantization


def calls(function: Callable[..., Any]) -> Callable[[click.Command], click.Command]:
    """Gives a command's options the defaults of the API function that it calls."""

    def decorate(command: click.Command) -> click.Command:
        parameters = inspect.signature(function).parameters
        for option in command.params:
            given = parameters.get(str(option.name))
            if isinstance(option, click.Option) and given and isinstance(given.default, str | int | float):
                option.default = given.default
        return command

    return decorate


def json_option(function: Any) -> Any:
    """`--json`, as every command has it."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout.")(function)


def quiet_option(function: Any) -> Any:
    """`--quiet`, for every command that shows progress or notes."""
    return click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_quiet,
        help="Suppress progress and notes on stderr; show only warnings and errors.",
    )(function)


def plugin_options(function: Any) -> Any:
    """`--plugins-dir` and `--no-plugins`, for every command that needs plugins."""
    folder = click.option(
        "--plugins-dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar=PLUGINS_DIR,
        help="Also load the plugins in this folder.",
    )
    none = click.option("--no-plugins", is_flag=True, envvar=NO_PLUGINS, help="Load only kdprobe's own plugins.")
    return folder(none(function))


def store_option(function: Any) -> Any:
    """`--store`, for every command that reads or writes runs."""
    return click.option(
        "--store",
        type=click.Path(file_okay=False),
        default=DEFAULT_STORE,
        show_default=True,
        envvar=STORE,
        help="The folder that holds stages and runs.",
    )(function)


def full_option(function: Any) -> Any:
    """`--full`, for the commands that take an experiment."""
    return click.option(
        "--full",
        is_flag=True,
        help="Add the remaining strategies of the response-priming paper and both controls (untrained and "
        "fine-tuned); train every student with at least three seeds; run all of kdprobe's own analyses that "
        "apply, except attention and shapley; and, unless the config already has a retention task, evaluate "
        "basics_kdprobe, which shows what students forget.",
    )(function)


def problems_option(function: Any) -> Any:
    """`--problems`, for every command that uses problems from outside an experiment."""
    return click.option(
        "--problems",
        shell_complete=provided("problem-sources", files=True),
        show_default=True,
        metavar="NAME|FILE",
        help="A problem source, or a JSON Lines file.",
    )(function)


def students_options(function: Any) -> Any:
    """`--adapter` and `--quantization`, for every command that examines several students of one base."""
    adapter = click.option(
        "--adapter",
        "adapters",
        multiple=True,
        metavar="[NAME=]PATH",
        help="A PEFT adapter for MODEL: a folder, a Hub id, or kdprobe:NAME for a built-in one; repeatable.",
    )
    kinds = click.Choice(get_args(Quantization))
    quantization = click.option("--quantization", type=kinds, help="Quantise MODEL's weights when they are loaded.")
    return adapter(quantization(function))


def baseline_option(function: Any) -> Any:
    """`--baseline`, for every command that compares arms which no experiment planned to compare."""
    return click.option(
        "--baseline",
        metavar="ARM|RUN",
        help="The arm to compare all other arms with, or the run to compare the other runs with, strategy by strategy.",
    )(function)


def settings_option(whose: str) -> Callable[[Any], Any]:
    """`--option NAME.KEY=VALUE`, for every command that builds something from plugins."""
    return click.option(
        "--option",
        "options",
        multiple=True,
        callback=lambda _context, _option, texts: read_options(texts),
        metavar="NAME.KEY=VALUE",
        help=f"An option of {whose}; repeatable.",
    )


def conversation_options(function: Any) -> Any:
    """`--system`, `--date` and `--template-argument`, as in `[conversation]` of an experiment."""
    system = click.option("--system", help="A system message for conversations without one.")
    date = click.option(
        "--date", metavar="YYYY-MM-DD", help="The date passed to chat templates that use one; a fixed date by default."
    )
    arguments = click.option(
        "--template-argument",
        "template_arguments",
        multiple=True,
        callback=lambda _context, _option, texts: read_template_arguments(texts),
        metavar="NAME=VALUE",
        help="An argument for the chat template, such as enable_thinking=false; repeatable.",
    )
    return system(date(arguments(function)))


def engine_option(function: Any) -> Any:
    """`--engine`, for every command that runs models."""
    return click.option(
        "--engine",
        show_default=True,
        shell_complete=provided("engines"),
        metavar="NAME",
        help="What runs the models: transformers, or an engine from a plugin, such as vllm.",
    )(function)


def tasks_options(function: Any) -> Any:
    """`--task`, `--include-path` and `--num-fewshot`, for lm-eval's tasks."""
    task = click.option(
        "--task",
        "tasks",
        multiple=True,
        metavar="NAME",
        help="A task, group or tag of lm-eval or a plugin; by default, gsm8k_kdprobe; repeatable.",
    )
    folder = click.option(
        "--include-path", multiple=True, type=click.Path(path_type=Path), help="A folder of tasks as YAML; repeatable."
    )
    examples = click.option(
        "--num-fewshot",
        type=click.IntRange(0, 1000),
        help="Number of examples in the prompt, for tasks other than kdprobe's variants of GSM8K.",
    )
    return task(folder(examples(function)))


def sampling_options(function: Any) -> Any:
    """`--max-new-tokens`, `--temperature`, `--top-p`, `--seed` and `--samples`, as in `[evaluation]`."""
    budget = click.option("--max-new-tokens", type=click.IntRange(min=1), show_default=True, help="Token budget.")
    temperature = click.option(
        "--temperature", type=float, callback=_temperature, show_default=True, help="Sampling temperature; 0 is greedy."
    )
    top_p = click.option(
        "--top-p", type=click.FloatRange(0, 1, min_open=True), show_default=True, help="Top-p of nucleus sampling."
    )
    seed = click.option("--seed", type=click.IntRange(0, 2**32 - 1), show_default=True, help="Sampling seed.")
    samples = click.option(
        "--samples",
        type=click.IntRange(1, 1000),
        show_default=True,
        help="Answers to each problem; more than one requires a temperature above 0.",
    )
    return budget(temperature(top_p(seed(samples(function)))))


def _quiet(context: click.Context, _option: click.Parameter, given: bool) -> None:
    from kdprobe.console.messages import quietly

    if given:
        context.with_resource(quietly())


def _temperature(_context: click.Context, _option: click.Parameter, given: float) -> float:
    from kdprobe.experiment.section import not_too_cold

    try:
        return not_too_cold(given)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def extractor_option(function: Any) -> Any:
    """`--extractor`, for every command that scores answers under one extractor or all of them."""
    return click.option(
        "--extractor",
        shell_complete=provided("extractors", "all"),
        show_default=True,
        help="An extractor's name, or `all`.",
    )(function)


def column_options(function: Any) -> Any:
    """`--response-column`, `--gold-column`, `--id-column` and `--encoding`, for every command that reads answers."""
    response = click.option(
        "--response-column", help="Column with the model's answers, used in every file that has it."
    )
    gold = click.option(
        "--gold-column",
        help='Column with the gold answers: a value, or a solution that ends with "#### VALUE" or "A: VALUE".',
    )
    identifier = click.option("--id-column", help="Column that identifies problems, used in every file that has it.")
    encoding = click.option("--encoding", help="Encoding of text files, such as utf-16 or cp1252; detected by default.")
    return response(gold(identifier(encoding(function))))


dtype_option = click.option(
    "--dtype",
    type=click.Choice(get_args(Dtype)),
    show_default=True,
    help="Data type of the weights; auto: float32 on a CPU, bfloat16 on a GPU.",
)
device_map_option = click.option(
    "--device-map",
    type=click.Choice(get_args(DeviceMap)),
    help="Spread the model's weights over several GPUs: evenly (auto, balanced), sparing the first (balanced_low_0), "
    "or filling one after the other (sequential).",
)
