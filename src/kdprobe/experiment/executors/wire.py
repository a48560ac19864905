"""What processes tell each other about a task, as JSON: what it says, how far it is, and its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from kdprobe.console.relay import Progressed, Said, Tell
from kdprobe.errors import KdprobeError, doing_when, quoted
from kdprobe.experiment.executors.executor import Ended, Task

Message = list[Any]
"""What kind of event it is, and its data."""
_ENDED, _PROGRESSED, _SAID = "ended", "progressed", "said"


def as_message(event: Said | Progressed | Ended) -> Message:
    """An event as a message, ready for JSON."""
    if isinstance(event, Said):
        return [_SAID, asdict(event)]
    if isinstance(event, Progressed):
        return [_PROGRESSED, asdict(event)]
    error = event.error
    if error is None:
        return [_ENDED, {"made": event.made}]
    if not isinstance(error, KdprobeError):
        return [_ENDED, {"error": quoted(error), "hint": None, "exit_code": KdprobeError.exit_code}]
    return [_ENDED, {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}]


def event_from(message: Message) -> Said | Progressed | Ended:
    """The event of a message; errors are instances of `KdprobeError`."""
    what, data = message
    if what == _SAID:
        return Said(**data)
    if what == _PROGRESSED:
        return Progressed(**data)
    if "error" not in data:
        return Ended(data["made"])
    error = KdprobeError(data["error"], data["hint"])
    error.exit_code = data["exit_code"]
    return Ended(error=error)


def end_of(job: Mapping[str, Any], task: Task, tell: Tell) -> Ended:
    """Runs a task with `make_stage`, and returns its outcome; every exception becomes a sentence."""
    from kdprobe.experiment.executors.job import make_stage

    try:
        return Ended(make_stage(job, task, tell))
    except KdprobeError as error:
        return Ended(error=error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the process with the screen says it
        what = f"{task.label} failed: {quoted(error)}{doing_when(error)}"
        hint = "To see the traceback, run the same command without --jobs and --executor, and with --debug."
        return Ended(error=KdprobeError(what, hint))
