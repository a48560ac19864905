"""`kdprobe export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from kdprobe.api.results.students import RunStudent, load_students
from kdprobe.cli.complete.runs import students
from kdprobe.cli.options import calls, dtype_option, json_option, quiet_option, store_option
from kdprobe.errors import UsageError

EPILOG = """\b
Examples:
  # base and adapter merged into one model
  kdprobe export embedded/ground-truth --merged my-student
  # the adapter alone
  kdprobe export embedded/ground-truth --adapter my-adapter
"""


@calls(RunStudent.export)
@click.command(epilog=EPILOG)
@click.argument("student", shell_complete=students)
@click.option(
    "--merged", type=click.Path(path_type=Path), help="Merge base and adapter, and write the model to this folder."
)
@click.option("--adapter", type=click.Path(path_type=Path), help="Write only the adapter to this folder.")
@dtype_option
@store_option
@quiet_option
@json_option
def command(as_json: bool, student: str, merged: Path | None, adapter: Path | None, **given: Any) -> None:
    """Export a student with a model card, as a plain Hugging Face model or as an adapter.

    STUDENT is RUN/ARM, as listed by `kdprobe runs`; a unique prefix of the run's name is enough. The card has the score
    with its interval, the training options, and the config needed to reproduce the run. A merged model is read back and
    its logits are compared with the student's.
    """
    from kdprobe.cli.show.tables import print_json
    from kdprobe.console import note
    from kdprobe.models.merging.files import CONFIG

    if (Path(student) / CONFIG).is_file():
        raise UsageError(
            f"{student!r} is an adapter, not RUN/ARM.",
            "To merge it into its base and write the result with a model card, use Python: "
            "kdprobe.evaluate(BASE, adapters={NAME: FOLDER}).students[NAME].export(NEW_FOLDER).",
        )
    run, _, arm = student.rpartition("/")
    if not run:
        raise UsageError(
            f"{student!r} is not RUN/ARM.",
            "Write RUN/ARM, as in embedded/ground-truth. Other adapters are exported in Python, with "
            "kdprobe.evaluate(...).students[NAME].export(FOLDER).",
        )
    if not (merged or adapter):
        raise UsageError("Nothing to write.", "Name a folder with --merged or with --adapter.")
    found = load_students(run, store=given["store"])[arm]
    copied = found.export_adapter(adapter) if adapter else None
    exported = found.export(merged, dtype=given["dtype"]) if merged else None
    if as_json:
        written = asdict(exported) if exported else {}
        print_json({**written, "adapter": copied, "caution": found.caution})
        return
    if found.caution:
        note(found.caution)
    if copied:
        note(f"Wrote the adapter to {copied}.")
    if exported:
        error = f"its logits differ from the student's by at most {exported.logit_error:.1g}"
        note(f"Wrote {exported.folder} in {exported.dtype}; {error}.")
