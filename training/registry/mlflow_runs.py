"""The record of every training run and the registry of its models, kept in MLflow.

A version is logged first and marked with the gate's decision later, when it has been loaded again:
one without the mark is one whose training ended in between, and is refused by all that read it.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from feature_repo.names import (
    BASE_MARGIN,
    BASE_MARGIN_TAG,
    CHALLENGER,
    CHAMPION,
    FORCED_FILE,
    FORCED_TAG,
    GATE_FAILED,
    GATE_FILE,
    GATE_PASSED,
    GATE_TAG,
    RANKER_MODEL,
    REASON_TAG,
    VERDICT_TAG,
    copy_name,
)
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from training.evaluation.compare import PRIMARY, RANKER
from training.registry.promotion_gate import Decision
from training.registry.records import Judgment, Learning, Lineage, Origin, TrainingRun
from training.studies.hyperparameters import Attempt

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature
    from xgboost import Booster

logger = logging.getLogger(__name__)

PREDICTIONS = "predictions.parquet"
"""The file among a run's artifacts with every model's score of every test pair."""
LEARNING = "learning.json"
"""The file with what only training could measure."""
FIGURES, SEARCH = "figures", "tune"

_STORE = "MLFLOW_TRACKING_URI"


def _restored(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


class TrackingError(Exception):
    """The registry did not do what was asked; the message says what and what to do."""


@dataclass(frozen=True)
class Tracking:
    """An MLflow store: ``uri`` of a database or a server, ``artifact_root`` a folder.

    A server keeps artifacts where it was told to, so the folder counts only without one.
    """

    uri: str
    artifact_root: Path

    def log(self, model: "Booster", run: TrainingRun) -> str:
        """Log a run and register its model, yet without the gate's decision. Returns the version.

        Raises TrackingError.
        """
        with self._connected() as mlflow:
            client = mlflow.MlflowClient()
            with mlflow.start_run(experiment_id=self._experiment(client), tags=run.lineage.tags()):
                version = _log_run(mlflow, model, run)
            _tag(client, version, run.lineage.tags() | {BASE_MARGIN_TAG: BASE_MARGIN})
        logger.info("logged %s version %s", RANKER_MODEL, version)
        return version

    def judge(self, version: str, judgment: Judgment) -> None:
        """Keep the gate's decision with a version, in place of an earlier one.

        A version that passed becomes challenger, but the champion is no challenger of its own; one
        that did not pass is no challenger any more.
        Raises TrackingError.
        """
        with self._connected() as mlflow:
            client = mlflow.MlflowClient()
            known = _known(client, version)
            with mlflow.start_run(run_id=known.run_id):
                mlflow.log_metrics(flat_metrics(judgment.table))
                for file in judgment.files:
                    mlflow.log_artifact(str(file))
                for file in judgment.figures:
                    mlflow.log_artifact(str(file), FIGURES)
                mlflow.log_dict(dict(judgment.artifact), _own_file(client, known, GATE_FILE))
            _tag(client, version, _gate_tags(judgment.decision))
            _challenge(client, version, judgment.decision.passed)
        logger.info("%s version %s: gate %s", RANKER_MODEL, version, _gate(judgment.decision))

    def force(self, version: str, record: Mapping[str, Any]) -> None:
        """Keep with a version that a person let it serve without the gate's word.

        ``record`` holds ``version``, ``sha256``, ``reason`` and who decided. Raises TrackingError.
        """
        with self._connected() as mlflow:
            client = mlflow.MlflowClient()
            known = _known(client, version)
            client.log_dict(known.run_id, dict(record), _own_file(client, known, FORCED_FILE))
            _tag(client, version, {FORCED_TAG: record["reason"]})

    def crown(self, version: str, reason: str, actor: str) -> None:
        """Set the alias champion, with the reason and who decided as tags of the version.

        It looks at nothing else: what may be champion is decided by who calls. Raises
        TrackingError.
        """
        with self._connected() as mlflow:
            client = mlflow.MlflowClient()
            _tag(client, version, {REASON_TAG: reason, "promoted_by": actor})
            client.set_registered_model_alias(RANKER_MODEL, CHAMPION, version)
        logger.info("%s version %s is champion: %s", RANKER_MODEL, version, reason)

    def origin(self, version: str) -> Origin:
        """What a version was made from. Raises TrackingError for one that is not known, or that
        `clipwise train` did not make."""
        with self._connected() as mlflow:
            client = mlflow.MlflowClient()
            run_id = _known(client, version).run_id
            data = client.get_run(run_id).data if run_id else None
        try:
            settings, lake_version = dict(data.params), int(data.tags["lake_version"])
            seed, test_start = int(settings["seed"]), settings.pop("test_start")
            return Origin(lake_version, test_start, seed, data.tags.get("git_commit"), settings)
        except (AttributeError, KeyError, ValueError) as error:
            raise TrackingError(
                f"Expected the run of {RANKER_MODEL} version {version} to say its lake_version, "
                "test_start and seed, got none: measure a version that `clipwise train` made."
            ) from error

    def predictions(self, version: str) -> "pa.Table":
        """What every model of a version's run scored every test pair. Raises TrackingError."""
        import pyarrow.parquet as pq

        with self._connected() as mlflow, tempfile.TemporaryDirectory() as folder:
            run_id = _known(mlflow.MlflowClient(), version).run_id
            return pq.read_table(
                mlflow.MlflowClient().download_artifacts(run_id, PREDICTIONS, folder)
            )

    def learning(self, version: str) -> Learning | None:
        """What a version's run kept of its learning, or None. Raises TrackingError."""
        with self._connected() as mlflow, tempfile.TemporaryDirectory() as folder:
            client = mlflow.MlflowClient()
            run_id = _known(client, version).run_id
            if LEARNING not in {one.path for one in client.list_artifacts(run_id)}:
                return None
            file = Path(client.download_artifacts(run_id, LEARNING, folder))
            try:
                return Learning.from_json(file.read_text())
            except (ValueError, KeyError, TypeError) as error:
                raise TrackingError(
                    f"{LEARNING} of version {version} is damaged ({error}): train it again."
                ) from error

    def require(self, version: str) -> None:
        """Raises TrackingError, with the versions there are, for one that is not known."""
        with self._connected() as mlflow:
            _known(mlflow.MlflowClient(), version)

    @contextmanager
    def searching(
        self, params: Mapping[str, Any], lineage: Lineage
    ) -> Iterator[Callable[[Attempt], None]]:
        """A run of a search; what comes out keeps an attempt in a run nested below it.

        Raises TrackingError.
        """
        with self._connected() as mlflow:
            experiment = self._experiment(mlflow.MlflowClient())
            with mlflow.start_run(
                experiment_id=experiment, run_name=SEARCH, tags=lineage.tags() | {"kind": SEARCH}
            ):
                mlflow.log_params(dict(params))
                yield partial(_log_attempt, mlflow)

    @contextmanager
    def _connected(self) -> Iterator[ModuleType]:
        """MLflow, pointed at this store; what it raises becomes a TrackingError."""
        import mlflow
        import mlflow.xgboost
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        self.artifact_root.mkdir(parents=True, exist_ok=True)
        told = os.environ.get(_STORE)
        mlflow.set_tracking_uri(self.uri)
        # MLflow tells the environment, where it would count for every later state folder.
        _restored(_STORE, told)
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


def _log_attempt(mlflow: ModuleType, attempt: Attempt) -> None:
    # MLflow would start a nested run in its default experiment.
    experiment = mlflow.active_run().info.experiment_id
    name, state = f"attempt {attempt.number}", "pruned" if attempt.pruned else "whole"
    tags = {"kind": SEARCH, "state": state}
    with mlflow.start_run(nested=True, experiment_id=experiment, run_name=name, tags=tags):
        mlflow.log_params(asdict(attempt.config))
        metric = PRIMARY.replace("@", "_at_")
        for fold, value in enumerate(attempt.by_fold):
            mlflow.log_metric(f"{metric}_of_fold", value, step=fold)
        mlflow.log_metric(metric, attempt.value)


def _gate_tags(decision: Decision) -> dict[str, str]:
    return {
        VERDICT_TAG: decision.verdict,
        "gate_reason": " ".join(decision.reasons),
        GATE_TAG: _gate(decision),
    }


def _challenge(client: "MlflowClient", version: str, passed: bool) -> None:
    aliases = client.get_registered_model(RANKER_MODEL).aliases
    if passed and str(aliases.get(CHAMPION)) == version:
        return
    if passed:
        client.set_registered_model_alias(RANKER_MODEL, CHALLENGER, version)
    elif str(aliases.get(CHALLENGER)) == version:
        client.delete_registered_model_alias(RANKER_MODEL, CHALLENGER)


def _known(client: "MlflowClient", version: str) -> "ModelVersion":
    found = {str(v.version): v for v in client.search_model_versions(f"name = '{RANKER_MODEL}'")}
    if version not in found:
        known = ", ".join(sorted(found, key=int))
        have = f"it has {known}" if known else "it has none; run `clipwise train`"
        raise TrackingError(f"{RANKER_MODEL} has no version {version}: {have}.")
    return found[version]


def _own_file(client: "MlflowClient", known: "ModelVersion", file: str) -> str:
    """Where the run keeps a version's file: one run may have been registered more than once."""
    found = client.search_model_versions(f"name = '{RANKER_MODEL}'")
    first = min(int(one.version) for one in found if one.run_id == known.run_id)
    own = copy_name(file, str(known.version))
    kept = {one.path for one in client.list_artifacts(known.run_id)}
    return file if first == int(known.version) and own not in kept else own


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
    return GATE_PASSED if decision.passed else GATE_FAILED
