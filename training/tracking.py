"""The record of every training run and the registry of its models, kept in MLflow.

TrackingError
  PromotionRefused    a version that did not pass the gate
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from feature_repo.names import (
    BASE_MARGIN,
    BASE_MARGIN_TAG,
    CHALLENGER,
    CHAMPION,
    RANKER_MODEL,
)
from feature_repo.transforms.request import RANKER_INPUTS
from training.evaluate import RANKER
from training.promotion import Decision

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature
    from xgboost import Booster

logger = logging.getLogger(__name__)

GATE_TAG = "gate"
PASSED = "passed"
FAILED = "failed"


class TrackingError(Exception):
    """The registry did not do what was asked; the message says what and what to do."""


class PromotionRefused(TrackingError):
    """A version that did not pass the gate was to become champion."""


@dataclass(frozen=True)
class Lineage:
    """What a model was made from; ``git_commit`` is None outside a checkout."""

    lake_version: int
    watermark: datetime
    feature_service: str
    git_commit: str | None

    def tags(self) -> dict[str, str]:
        """The lineage as MLflow tags; Feast's own link reads ``feast.feature_service``."""
        tags = {
            "lake_version": str(self.lake_version),
            "watermark": self.watermark.isoformat(),
            "feature_service": self.feature_service,
            "feast.feature_service": self.feature_service,
        }
        return tags | ({"git_commit": self.git_commit} if self.git_commit else {})


@dataclass(frozen=True)
class TrainingRun:
    """All that is kept of a run: settings, metrics of every model, lineage, gate and files."""

    params: Mapping[str, Any]
    table: Mapping[str, Mapping[str, float]]
    lineage: Lineage
    decision: Decision
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class Tracking:
    """An MLflow store: ``uri`` of a database or a server, ``artifact_root`` a folder.

    A server keeps artifacts where it was told to, so the folder counts only without one.
    """

    uri: str
    artifact_root: Path

    def log(self, model: "Booster", run: TrainingRun) -> str:
        """Log a run, register its model and mark the version with the gate's decision.

        A version that passed becomes challenger. Returns the version. Raises TrackingError.
        """
        with self._connected() as mlflow:
            experiment = self._experiment(mlflow.MlflowClient())
            with mlflow.start_run(experiment_id=experiment, tags=run.lineage.tags()):
                version = _log_run(mlflow, model, run)
            _mark(mlflow.MlflowClient(), version, run)
        logger.info("logged %s version %s, gate %s", RANKER_MODEL, version, _gate(run.decision))
        return version

    def promote(self, version: str, reason: str, actor: str) -> None:
        """Make a version the champion, with the reason and who decided as tags.

        Raises PromotionRefused for a version that did not pass the gate, which the service would
        not load either, and TrackingError for an unknown version or an empty reason.
        """
        if not reason.strip():
            raise TrackingError("Expected a reason for the promotion, got none: say why in a word.")
        with self._connected() as mlflow:
            client = mlflow.MlflowClient()
            _require(client, version)
            gate = client.get_model_version(RANKER_MODEL, version).tags.get(GATE_TAG)
            if gate != PASSED:
                raise PromotionRefused(
                    f"Expected {RANKER_MODEL} version {version} to have {GATE_TAG}={PASSED}, got "
                    f"{GATE_TAG}={gate}: promote one that passed."
                )
            _tag(client, version, {"promotion_reason": reason, "promoted_by": actor})
            client.set_registered_model_alias(RANKER_MODEL, CHAMPION, version)
        logger.info("%s version %s is champion: %s", RANKER_MODEL, version, reason)

    def champion(self) -> str | None:
        """The version that the alias champion names, or None. Raises TrackingError."""
        with self._connected() as mlflow:
            found = mlflow.MlflowClient().search_registered_models(f"name = '{RANKER_MODEL}'")
            version = found[0].aliases.get(CHAMPION) if found else None
        return None if version is None else str(version)

    def load(self, version: str) -> "Booster":
        """The model of a version, to be evaluated again. Raises TrackingError."""
        with self._connected() as mlflow:
            return mlflow.xgboost.load_model(f"models:/{RANKER_MODEL}/{version}")

    @contextmanager
    def _connected(self) -> Iterator[ModuleType]:
        """MLflow, pointed at this store; what it raises becomes a TrackingError."""
        import mlflow
        import mlflow.xgboost
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        self.artifact_root.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(self.uri)
        try:
            yield mlflow
        except (MlflowException, SQLAlchemyError, OSError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise TrackingError(
                f"Expected the MLflow store at {self.uri} to do as asked, got: {first} Check "
                "that MLFLOW_TRACKING_URI names a store that runs."
            ) from error

    def _experiment(self, client: "MlflowClient") -> str:
        known = client.get_experiment_by_name(RANKER_MODEL)
        if known is not None:
            return known.experiment_id
        served = self.uri.startswith(("http://", "https://"))
        folder = None if served else self.artifact_root.resolve().as_uri()
        return client.create_experiment(RANKER_MODEL, artifact_location=folder)


def flat_metrics(table: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The table under names that MLflow takes: ``ndcg_at_10`` of the ranker, and of the others
    ``own_purchases/ndcg_at_10``."""
    return {
        ("" if model == RANKER else f"{model}/") + name.replace("@", "_at_"): value
        for model, values in table.items()
        for name, value in values.items()
    }


def _log_run(mlflow: ModuleType, model: "Booster", run: TrainingRun) -> str:
    mlflow.log_params(dict(run.params))
    mlflow.log_metrics(flat_metrics(run.table))
    gate = {GATE_TAG: _gate(run.decision), "reasons": list(run.decision.reasons)}
    mlflow.log_dict(gate, "gate.json")
    for file in run.files:
        mlflow.log_artifact(str(file))
    # Named requirements: MLflow would find them by importing the model in another process.
    info = mlflow.xgboost.log_model(
        model,
        name=RANKER_MODEL,
        registered_model_name=RANKER_MODEL,
        signature=_signature(),
        pip_requirements=_requirements(),
    )
    return str(info.registered_model_version)


def _mark(client: "MlflowClient", version: str, run: TrainingRun) -> None:
    gate = {GATE_TAG: _gate(run.decision), "gate_reason": " ".join(run.decision.reasons)}
    _tag(client, version, run.lineage.tags() | gate | {BASE_MARGIN_TAG: BASE_MARGIN})
    if run.decision.passed:
        client.set_registered_model_alias(RANKER_MODEL, CHALLENGER, version)


def _require(client: "MlflowClient", version: str) -> None:
    found = client.search_model_versions(f"name = '{RANKER_MODEL}'")
    known = sorted((str(one.version) for one in found), key=int)
    if str(version) not in known:
        have = f"it has {', '.join(known)}" if known else "it has none; run `clipwise train`"
        raise TrackingError(f"{RANKER_MODEL} has no version {version}: {have}.")


def _tag(client: "MlflowClient", version: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        client.set_model_version_tag(RANKER_MODEL, version, key, value)


def _signature() -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = Schema([ColSpec("float", name) for name in RANKER_INPUTS])
    return ModelSignature(inputs=columns, outputs=Schema([ColSpec("float", "score")]))


def _requirements() -> list[str]:
    import numpy
    import xgboost

    return [f"xgboost=={xgboost.__version__}", f"numpy=={numpy.__version__}"]


def _gate(decision: Decision) -> str:
    return PASSED if decision.passed else FAILED
