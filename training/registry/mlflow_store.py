"""A connection to an MLflow store: the tracking server and the registry of models."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from feature_repo.names import RankerNames

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_URI_VARIABLE = "MLFLOW_TRACKING_URI"

EXPERIMENT = "clipwise"
"""The MLflow experiment with the runs of all rankers."""


class TrackingError(Exception):
    """The MLflow store failed or lacks what was wanted; the message names the remedy."""


@dataclass(frozen=True)
class MlflowStore:
    """One ranker in an MLflow store: the ``uri`` of a database or a server, a folder for artifacts.

    Runs of all rankers are in one experiment. Each ranker has its own registered model.
    ``artifact_root`` is used only with a database. A server decides where it keeps artifacts.
    """

    uri: str
    artifact_root: Path
    ranker: RankerNames

    @contextmanager
    def connected(self) -> Iterator[ModuleType]:
        """Yields the ``mlflow`` module, connected to this store.

        Translates the errors of MLflow, its database and files to TrackingError.
        """
        import mlflow
        import mlflow.xgboost
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        self.artifact_root.mkdir(parents=True, exist_ok=True)
        before = os.environ.get(_URI_VARIABLE)
        mlflow.set_tracking_uri(self.uri)
        # MLflow also writes the URI to the environment. There it would apply to other stores.
        _restore(_URI_VARIABLE, before)
        try:
            yield mlflow
        except (MlflowException, SQLAlchemyError, OSError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise TrackingError(
                f"Expected the MLflow store at {self.uri} to complete the operation, got: {first} "
                f"Check that {_URI_VARIABLE} names a running store."
            ) from error

    def experiment_id(self, client: "MlflowClient") -> str:
        """Returns the id of the experiment, and creates it on first use."""
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return found.experiment_id
        is_server = self.uri.startswith(("http://", "https://"))
        folder = None if is_server else self.artifact_root.resolve().as_uri()
        return client.create_experiment(EXPERIMENT, artifact_location=folder)


def model_version(client: "MlflowClient", model: str, version: str) -> "ModelVersion":
    """Returns a version of a model. Raises TrackingError, with all versions, for another one."""
    found = {str(v.version): v for v in client.search_model_versions(f"name = '{model}'")}
    if version not in found:
        others = ", ".join(sorted(found, key=int))
        have = f"it has {others}" if others else "it has none; run `clipwise train`"
        raise TrackingError(f"{model} has no version {version}: {have}.")
    return found[version]


def run_id_of(version: "ModelVersion") -> str:
    """Returns the run of a version. Raises TrackingError for a version without one."""
    if not version.run_id:
        raise TrackingError(
            f"Expected {version.name} version {version.version} to have a run, got none: use a "
            "version that `clipwise train` made."
        )
    return version.run_id


def _restore(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value
