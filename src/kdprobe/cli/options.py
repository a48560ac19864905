"""The options that several commands have, one decorator each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from kdprobe.models.reference import Dtype


def json_option(function: Any) -> Any:
    """`--json`, as every command has it."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(function)


def plugin_options(function: Any) -> Any:
    """`--plugins-dir` and `--no-plugins`, for every command that needs plugins; `inputs.open_host` reads them."""

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        ctx.meta[f"kdprobe.{param.name}"] = value

    folder = click.option(
        "--plugins-dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="KDPROBE_PLUGINS_DIR",
        expose_value=False,
        callback=keep,
        help="Load the plugins in this folder too.",
    )
    none = click.option(
        "--no-plugins",
        is_flag=True,
        envvar="KDPROBE_NO_PLUGINS",
        expose_value=False,
        callback=keep,
        help="Load kdprobe's own plugins only.",
    )
    return folder(none(function))


def store_option(function: Any) -> Any:
    """`--store`, for every command that reads or writes runs."""
    return click.option(
        "--store",
        "store_folder",
        type=click.Path(file_okay=False),
        default="kdprobe-runs",
        show_default=True,
        envvar="KDPROBE_STORE",
        help="The folder of stages and runs.",
    )(function)


def strict_option(function: Any) -> Any:
    """`--strict`, for every command that audits; `inputs.fail_where_found` does what it says."""
    return click.option("--strict", is_flag=True, help="Exit with 1 where there are findings.")(function)


def full_option(function: Any) -> Any:
    """`--full`, for the commands that take an experiment."""
    return click.option("--full", is_flag=True, help="All four of the paper's strategies.")(function)


def problems_option(function: Any) -> Any:
    """`--problems`, for every command that takes problems from outside an experiment."""
    return click.option(
        "--problems",
        default="gsm8k",
        show_default=True,
        metavar="NAME|FILE",
        help="A problem source, or a file of JSON lines.",
    )(function)


def adapters_option(function: Any) -> Any:
    """`--adapter`, for every command that looks at several students of one base."""
    return click.option(
        "--adapter",
        "adapters",
        multiple=True,
        metavar="[NAME=]PATH",
        help="An adapter of MODEL: a folder, or an id of the Hub; repeatable.",
    )(function)


def settings_option(whose: str) -> Callable[[Any], Any]:
    """`--option NAME.KEY=VALUE`, for every command that builds parts of plugins; `inputs.read_settings` reads it."""
    return click.option(
        "--option", "settings", multiple=True, metavar="NAME.KEY=VALUE", help=f"An option of {whose}; repeatable."
    )


def conversation_options(function: Any) -> Any:
    """`--system`, `--date` and `--template-argument`, as `[conversation]` of an experiment has them.

    `inputs.read_conversation` reads them.
    """
    system = click.option("--system", help="A system message for conversations that have none.")
    date = click.option(
        "--date", metavar="YYYY-MM-DD", help="Today, for chat templates that ask; a constant unless given."
    )
    arguments = click.option(
        "--template-argument",
        "template_arguments",
        multiple=True,
        metavar="NAME=VALUE",
        help="What the chat template takes by name, such as enable_thinking=false; repeatable.",
    )
    return system(date(arguments(function)))


def extractor_option(function: Any) -> Any:
    """`--extractor`, for every command that scores answers under one extractor or all of them."""
    return click.option("--extractor", default="robust", show_default=True, help="An extractor's name, or `all`.")(
        function
    )


def column_options(function: Any) -> Any:
    """`--response-column`, `--gold-column`, `--id-column` and `--encoding`, for every command that reads answers."""
    response = click.option("--response-column", help="What the model wrote.")
    gold = click.option(
        "--gold-column", help="The gold answer: a value, or a solution that ends in #### value or A: value."
    )
    identifier = click.option("--id-column", help="What identifies a problem.")
    encoding = click.option("--encoding", help="Of text files, such as utf-16 or cp1252; by default it is detected.")
    return response(gold(identifier(encoding(function))))


def dtype_option(function: Any) -> Any:
    """`--dtype`, for every command that loads weights."""
    return click.option(
        "--dtype",
        type=click.Choice(get_args(Dtype)),
        default="auto",
        show_default=True,
        help="Data type of the weights; auto: float32 on a CPU, bfloat16 on a GPU.",
    )(function)
