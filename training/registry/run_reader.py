"""Readers of runs and versions in an MLflow store: lineage, predictions, learning record."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from training.evaluation.predictions import READ_BACK
from training.registry.mlflow_store import MlflowStore, TrackingError, model_version, run_id_of
from training.registry.records import LEARNING_FILE, PREDICTIONS_FILE, LearningRecord, Origin

if TYPE_CHECKING:
    import pyarrow as pa


def require_version(store: MlflowStore, version: str) -> None:
    """Raises TrackingError, with all versions, unless the version exists."""
    with store.connected() as mlflow:
        model_version(mlflow.MlflowClient(), store.ranker.model, version)


def read_origin(store: MlflowStore, version: str) -> Origin:
    """Reads the data and settings that a version was made from.

    Raises TrackingError for an unknown version, or for one that `clipwise train` did not make.
    """
    with store.connected() as mlflow:
        client = mlflow.MlflowClient()
        run_id = model_version(client, store.ranker.model, version).run_id
        data = client.get_run(run_id).data if run_id else None
    if data is None:
        raise _without_origin(store, version)
    try:
        settings, lake_version = dict(data.params), int(data.tags["lake_version"])
        seed, test_start = int(settings["seed"]), settings.pop("test_start")
    except (KeyError, ValueError) as error:
        raise _without_origin(store, version) from error
    return Origin(lake_version, test_start, seed, data.tags.get("git_commit"), settings)


def _without_origin(store: MlflowStore, version: str) -> TrackingError:
    return TrackingError(
        f"Expected the run of {store.ranker.model} version {version} to have its lake_version, "
        "test_start and seed, got none: use a version that `clipwise train` made."
    )


def read_predictions(store: MlflowStore, version: str) -> "pa.Table":
    """Reads every model's scores of the test pairs of a version's run.

    The columns are those that ``scores_of`` reads: all columns of all models would take most of a
    gigabyte. Raises TrackingError.
    """
    import pyarrow.parquet as pq

    with store.connected() as mlflow, tempfile.TemporaryDirectory() as folder:
        client = mlflow.MlflowClient()
        run_id = run_id_of(model_version(client, store.ranker.model, version))
        file = client.download_artifacts(run_id, PREDICTIONS_FILE, folder)
        return pq.read_table(file, columns=list(READ_BACK))


def read_learning(store: MlflowStore, version: str) -> LearningRecord | None:
    """Reads the learning record of a version's run; None if the run has none.

    Raises TrackingError, also for a damaged file.
    """
    with store.connected() as mlflow, tempfile.TemporaryDirectory() as folder:
        client = mlflow.MlflowClient()
        run_id = run_id_of(model_version(client, store.ranker.model, version))
        if LEARNING_FILE not in {one.path for one in client.list_artifacts(run_id)}:
            return None
        file = Path(client.download_artifacts(run_id, LEARNING_FILE, folder))
        try:
            return LearningRecord.from_json(file.read_text())
        except (ValueError, KeyError, TypeError) as error:
            raise TrackingError(
                f"{LEARNING_FILE} of version {version} is damaged ({error}): train it again."
            ) from error
