"""`kdprobe export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from kdprobe.api.results.students import RunStudent, load_students
from kdprobe.cli.options import calls, dtype_option, json_option, store_option
from kdprobe.errors import UsageError
from kdprobe.models.reference import Dtype


@calls(RunStudent.export)
@click.command()
@click.argument("student")
@click.option("--merged", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@dtype_option
@store_option
@json_option
def command(
    student: str,
    merged: Path,
    dtype: Dtype,
    store: str,
    as_json: bool,
) -> None:
    """Write a student as a plain Hugging Face model, with base and adapter merged.

    STUDENT is RUN/ARM, as listed by `kdprobe runs`; a unique prefix of the run's name is enough. The exported model is
    read back and its logits are compared with the student's: kdprobe export embedded/ground-truth --merged my-student
    """
    from kdprobe.cli.show.tables import print_json
    from kdprobe.console import note

    run, _, arm = student.rpartition("/")
    if not run:
        raise UsageError(f"{student!r} is not RUN/ARM.", "Write RUN/ARM, as in embedded/ground-truth.")
    found = load_students(run, store=store)[arm]
    exported = found.export(merged, dtype=dtype)
    if as_json:
        print_json({**asdict(exported), "caution": found.caution})
    else:
        if found.caution:
            note(found.caution)
        note(f"Wrote {exported.folder} in {exported.dtype}; logits differ by at most {exported.logit_error:.1g}.")
