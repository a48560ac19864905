"""`kdprobe export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from kdprobe.cli.options import dtype_option, json_option, store_option
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models.reference import Dtype


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
    store_folder: str,
    as_json: bool,
) -> None:
    """Write a student as a plain Hugging Face model, base and adapter in one.

    STUDENT is RUN/ARM, as `kdprobe runs` lists them; a run may be named by its beginning. What was written is read back
    and its logits are compared with the student's: kdprobe export embedded/ground-truth --merged my-student
    """
    from kdprobe.cli.show.tables import print_json
    from kdprobe.console import note
    from kdprobe.experiment.results import load_results
    from kdprobe.experiment.stages.distill import divergence_sentence
    from kdprobe.experiment.store import Store
    from kdprobe.models.reference import resolve
    from kdprobe.students.export import export
    from kdprobe.students.student import Student

    run, _, arm = student.rpartition("/")
    store = Store(Path(store_folder))
    if not run:
        raise UsageError(f"{student!r} names no student.", "Write RUN/ARM, as in embedded/ground-truth.")
    results = load_results(store, run)
    found = results.arm(arm)
    if found.diverged:
        raise KdprobeError(f"{student} is no student: its training {divergence_sentence(found.diverged)}")
    config = results.record["config"]["student"]
    base = resolve(config["model"], config["revision"])
    if base.digest != results.record["student"]["digest"]:
        raise KdprobeError(
            f"The model {base.name!r} is no longer the one that {results.run} trained on.", "Run the experiment again."
        )
    if found.adapter:
        store.checks.whole(found.adapter.parent)
    caution = (found.training or {}).get("caution", "")
    exported = export(Student(found.name, base, found.adapter, caution), merged, dtype=dtype)
    if as_json:
        print_json({**asdict(exported), "caution": caution})
    else:
        if caution:
            note(caution)
        note(f"Wrote {exported.folder} in {exported.dtype}; logits differ by at most {exported.logit_error:.1g}.")
