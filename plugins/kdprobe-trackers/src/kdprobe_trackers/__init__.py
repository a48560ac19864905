"""Every stage of a run told to MLflow: a local database by default, and no account.

`MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME` say where to, as everywhere with MLflow.
"""

import os

from kdprobe import FinishedStage, hookimpl


@hookimpl
def kdprobe_stage_finished(stage: FinishedStage) -> None:
    """Writes a stage's figures into MLflow."""
    # A run that is local stays local: MLflow reports its own use over the network unless told not to.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from kdprobe_trackers.books import write

    write(stage)
