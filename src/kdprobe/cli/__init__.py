"""The command line: each command is imported only when it is called, errors are caught in one place."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdprobe import __version__
from kdprobe.errors import KdprobeError

if TYPE_CHECKING:
    from kdprobe.comparison.findings import Finding
    from kdprobe.host.choice import Choice
    from kdprobe.host.provider import Provider
    from kdprobe.host.registry import Host

COMMANDS = {
    "run": "Run an experiment, or resume it (no config: the embedded one).",
    "plan": "Show which stages of an experiment are there and which would be made.",
    "init": "Write a commented config to start from.",
    "tune": "Search the distiller's options on validation problems; the result is a config.",
    "eval": "Examine any model, with adapters or behind an API.",
    "score": "Score answers that are there already, from files.",
    "compare": "Compare files of answers, problem by problem.",
    "probe": "Look inside students: what attention heads do, and which moved.",
    "runs": "List finished runs.",
    "report": "Write a run's page again and show its tables.",
    "export": "Write a student as a plain Hugging Face model.",
    "plugins": "List plugins: where they come from, what they provide.",
}

EPILOG = """\b
Examples:
  kdprobe run                      the embedded experiment, offline, on a CPU
  kdprobe init > mine.toml         a config to start from
  kdprobe plan mine.toml           what would be done
  kdprobe run mine.toml            do it; run again to resume
  kdprobe eval MODEL               examine any model
  kdprobe score answers.csv        score answers that are there already
  kdprobe probe MODEL              look at its attention heads
  kdprobe plugins                  what is installed
"""

_INTERRUPTED = 130


class _Commands(click.Group):
    """Knows its commands by name and imports one only to run it or to show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"kdprobe.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kdprobe")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def app(debug: bool) -> None:
    """Did the way the teacher was prompted make a better student, and where inside does it show?"""


def main(arguments: list[str] | None = None) -> None:
    """The entry point: exit codes 0 fine, 1 failed, 2 wrong use, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    opened: list[Host] = []
    try:
        app.main(args=arguments, prog_name="kdprobe", standalone_mode=False, obj=opened)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("Interrupted; what was finished is kept, the same command goes on from there.")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`kdprobe runs | head`); nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        told = None if "--debug" in arguments else _told(error, opened)
        if told is None:
            raise
        _say(told)
        return error.exit_code if isinstance(error, KdprobeError) else 1
    return 0


def _told(error: Exception, opened: list[Host]) -> str | None:
    """What to say in place of a traceback; `None` where the fault is kdprobe's own."""
    if isinstance(error, KdprobeError):
        return str(error)
    if plugin := _plugin_at_fault(error, opened):
        source = f"{plugin.source} {plugin.version}".strip()
        what = f"The plugin {plugin.name} ({source}) failed: {type(error).__name__}: {error}"
        return str(KdprobeError(what, "What was finished is kept; --debug shows where."))
    if isinstance(error, ConnectionError | TimeoutError):
        return str(KdprobeError(f"{type(error).__name__}: {error}", "Check the network; what was finished is kept."))
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or 'a file'}. Check the disk and its permissions."
    return None


def _plugin_at_fault(error: Exception, opened: list[Host]) -> Provider | None:
    from kdprobe.host.guard import plugin_at_fault

    return next((plugin for host in opened if (plugin := plugin_at_fault(error, host.providers))), None)


def _say(text: str) -> None:
    from kdprobe.console import visible

    click.echo(f"kdprobe: {visible(text)}", err=True)


def json_option(function: Any) -> Any:
    """`--json`, as every command has it."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(function)


def plugin_options(function: Any) -> Any:
    """`--plugins-dir` and `--no-plugins`, as every command that needs plugins has them; `open_host` reads them."""

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


def plugin_choice() -> Choice:
    """Which plugins the command line and the environment want."""
    from kdprobe.host.choice import Choice

    meta = click.get_current_context().meta
    return Choice.of_environment(none=meta["kdprobe.no_plugins"], folder=meta["kdprobe.plugins_dir"])


def open_host() -> Host:
    """The plugins of this process, for a command that has `plugin_options`."""
    from kdprobe.host.registry import Host

    host = Host(choice=plugin_choice())
    opened: list[Host] | None = click.get_current_context().find_object(list)
    if opened is not None:
        opened.append(host)
    return host


def store_option(function: Any) -> Any:
    """`--store`, as every command that reads or writes runs has it."""
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
    """`--strict`, as every command that audits has it."""
    return click.option("--strict", is_flag=True, help="Exit with 1 where there are findings.")(function)


def fail_where_found(findings: Sequence[Finding], *, strict: bool) -> None:
    """What `--strict` does, once everything is told.

    Raises:
        KdprobeError: There are findings, and they are to fail the command.
    """
    if strict and findings:
        codes = ", ".join(dict.fromkeys(finding.code for finding in findings))
        raise KdprobeError(f"There are findings: {codes}.", "They fail because of --strict.")
