"""Reports every stage of a run to MLflow, by default in a local database and without an account.

`MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME` select the database and the experiment, as usual with MLflow.
"""

import os

from kdprobe import FinishedStage, hookimpl


@hookimpl
def kdprobe_stage_finished(stage: FinishedStage) -> None:
    """Writes a stage's numbers to MLflow."""
    # A local run stays local: MLflow reports its usage over the network unless told not to.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from kdprobe_trackers.books import write

    write(stage)
