"""The command line: each command is imported only when it is called, errors are caught in one place."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from kdprobe import __version__
from kdprobe.errors import KdprobeError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "run": "Run an experiment, or resume it (by default, the one that ships with kdprobe).",
    "plan": "Preview a run: its stages, time, disk space, and the smallest detectable difference.",
    "init": "Write an annotated config as a starting point.",
    "tune": "Tune the distiller's options on validation problems; the result is a config.",
    "eval": "Evaluate any model, local (optionally with adapters) or behind an API.",
    "score": "Score existing answers from files.",
    "compare": "Compare answer files, runs or arms, problem by problem.",
    "probe": "Look inside students: what their attention heads do and which ones changed.",
    "runs": "List finished runs, with dates, numbers of problems, seeds and accuracies.",
    "store": "List, check, prune, export and import stored stages and runs.",
    "report": "Regenerate a run's report page and show its tables.",
    "export": "Write a student as a plain Hugging Face model.",
    "plugins": "List plugins, where they come from and what they provide.",
}

EPILOG = """\b
Examples:
  kdprobe run                      the experiment that ships with kdprobe
  kdprobe init > mine.toml         a config to start from
  kdprobe plan mine.toml           show what would be done
  kdprobe run mine.toml            do it; rerun to resume
  kdprobe eval MODEL               evaluate any model
  kdprobe score answers.csv        score existing answers
  kdprobe probe MODEL              look at its attention heads
  kdprobe plugins                  list what is installed
"""

COMPLETE = "_KDPROBE_COMPLETE"
"""The variable with which a shell asks for completions."""
_INTERRUPTED = 130
_KEEPING = {"run", "tune", "eval", "store verify", "store prune", "store import"}
"""Commands that save finished work and resume; the others leave nothing behind when they fail."""


class _Commands(click.Group):
    """Knows commands by name, and imports one only to run it or to show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"kdprobe.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from kdprobe.host.suggestions import suggested

        name = args[0]
        if not ctx.resilient_parsing and name not in COMMANDS and not name.startswith("-"):
            ctx.fail(f"No such command {name!r}. {suggested(name, COMMANDS)}".rstrip())
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        # click would import every command.
        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kdprobe")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def app(debug: bool) -> None:
    """Does prompting the teacher differently make a better student, and what changes inside it?"""


def main(arguments: list[str] | None = None) -> None:
    """The entry point. Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if instruction := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(app, {}, "kdprobe", COMPLETE, instruction))
    # At exit, Python searches all objects for cycles of garbage, which takes a second if torch is imported.
    atexit.register(gc.freeze)
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    words = [word for word in arguments if not word.startswith("-")]
    keeps = not {words[0], " ".join(words[:2])}.isdisjoint(_KEEPING) if words else False
    try:
        app.main(args=arguments, prog_name="kdprobe", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        kept = "finished work is saved; rerun the same command to resume" if keeps else "nothing was saved"
        _say(f"Interrupted; {kept}.")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`kdprobe runs | head`); nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, SystemExit) as error:  # noqa: BLE001 - every failure ends in a sentence; click's own exits never get here
        from kdprobe.api.faults import UnexpectedError
        from kdprobe.cli.faults import sentence, traceback_of

        hosts = error.hosts if isinstance(error, UnexpectedError) else ()
        cause = error.__cause__ or error if isinstance(error, UnexpectedError) else error
        if "--debug" in arguments:
            click.echo(traceback_of(cause), err=True)
        else:
            _say(sentence(cause, hosts, keeps=keeps))
        return error.exit_code if isinstance(error, KdprobeError) else 1
    return 0


def _say(text: str) -> None:
    from kdprobe.console.streams import shortened, visible, wrapped

    click.echo(wrapped(f"kdprobe: {visible(shortened(text))}", sys.stderr), err=True)
