"""Writers of runs, versions and gate decisions to an MLflow store.

A version is logged first, without a decision. Training then loads it back, and marks it with the
gate's decision. A version without the mark is one whose training was interrupted, and every reader
refuses it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from feature_repo.names import (
    BASE_MARGIN_TAG,
    CHALLENGER,
    CHAMPION,
    FORCED_FILE,
    FORCED_TAG,
    GATE_FAILED,
    GATE_FILE,
    GATE_PASSED,
    GATE_TAG,
    REASON_TAG,
    VERDICT_TAG,
    RankerNames,
    copy_name,
)
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF
from training.evaluation.compare import PRIMARY, RANKER
from training.registry.mlflow_store import MlflowStore, model_version, run_id_of
from training.registry.promotion_gate import Decision
from training.registry.records import FIGURES_FOLDER, GateRecord, Lineage, TrainingRun
from training.studies.hyperparameters import Attempt

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature
    from xgboost import Booster

logger = logging.getLogger(__name__)

_SEARCH = "tune"
"""The kind of a search's runs, and the name of its outer run."""


def log_run(store: MlflowStore, model: "Booster", run: TrainingRun) -> str:
    """Logs a run and registers its model, without a gate decision. Returns the version.

    Raises TrackingError.
    """
    with store.connected() as mlflow:
        client = mlflow.MlflowClient()
        tags = run.lineage.tags()
        with mlflow.start_run(experiment_id=store.experiment_id(client), tags=tags):
            version = _log_model(mlflow, store.ranker, model, run)
        _tag(store, client, version, tags | {BASE_MARGIN_TAG: store.ranker.base_margin})
    logger.info("logged %s version %s", store.ranker.model, version)
    return version


def record_gate(store: MlflowStore, version: str, record: GateRecord) -> None:
    """Records the gate's decision with a version, and replaces an earlier one.

    A version that passed becomes challenger, unless it is the champion. A version that failed
    loses the alias. Raises TrackingError.
    """
    with store.connected() as mlflow:
        client = mlflow.MlflowClient()
        found = model_version(client, store.ranker.model, version)
        with mlflow.start_run(run_id=run_id_of(found)):
            mlflow.log_metrics(flat_metrics(record.table))
            for file in record.files:
                mlflow.log_artifact(str(file))
            for file in record.figures:
                mlflow.log_artifact(str(file), FIGURES_FOLDER)
            mlflow.log_dict(dict(record.artifact), _file_of_version(client, found, GATE_FILE))
        _tag(store, client, version, _gate_tags(record.decision))
        _set_challenger(store, client, version, record.decision.passed)
    logger.info("%s version %s: gate %s", store.ranker.model, version, _gate_tag(record.decision))


def record_forced(store: MlflowStore, version: str, record: Mapping[str, Any]) -> None:
    """Records that a person promoted a version against the gate or without it.

    ``record`` has ``model``, ``version``, ``sha256``, ``reason`` and the person. Raises
    TrackingError.
    """
    with store.connected() as mlflow:
        client = mlflow.MlflowClient()
        found = model_version(client, store.ranker.model, version)
        file = _file_of_version(client, found, FORCED_FILE)
        client.log_dict(run_id_of(found), dict(record), file)
        _tag(store, client, version, {FORCED_TAG: record["reason"]})


def set_champion(store: MlflowStore, version: str, reason: str, actor: str) -> None:
    """Sets the alias champion, and tags the version with the reason and the person.

    Does not check the version; the caller does. Raises TrackingError.
    """
    with store.connected() as mlflow:
        client = mlflow.MlflowClient()
        _tag(store, client, version, {REASON_TAG: reason, "promoted_by": actor})
        client.set_registered_model_alias(store.ranker.model, CHAMPION, version)
    logger.info("%s version %s is champion: %s", store.ranker.model, version, reason)


@contextmanager
def search_run(
    store: MlflowStore, params: Mapping[str, Any], lineage: Lineage
) -> Iterator[Callable[[Attempt], None]]:
    """Opens the run of a search, and yields a function that logs an attempt in a nested run.

    Raises TrackingError.
    """
    with store.connected() as mlflow:
        experiment = store.experiment_id(mlflow.MlflowClient())
        tags = lineage.tags() | {"kind": _SEARCH}
        with mlflow.start_run(experiment_id=experiment, run_name=_SEARCH, tags=tags):
            mlflow.log_params(dict(params))
            yield partial(_log_attempt, mlflow)


def flat_metrics(table: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Flattens a table of metrics to the names that MLflow allows.

    >>> flat_metrics({"ranker": {"ndcg@10": 0.5}, "random": {"mrr": 0.1}})
    {'ndcg_at_10': 0.5, 'random/mrr': 0.1}
    """
    return {
        ("" if model == RANKER else f"{model}/") + name.replace("@", "_at_"): value
        for model, values in table.items()
        for name, value in values.items()
    }


def _log_model(mlflow: ModuleType, names: RankerNames, model: "Booster", run: TrainingRun) -> str:
    mlflow.log_params(dict(run.params))
    for file in run.files:
        mlflow.log_artifact(str(file))
    # Without named requirements MLflow imports the model in another process to find them.
    info = mlflow.xgboost.log_model(
        model,
        name=names.model,
        registered_model_name=names.model,
        signature=_signature(names),
        pip_requirements=_requirements(),
    )
    return str(info.registered_model_version)


def _log_attempt(mlflow: ModuleType, attempt: Attempt) -> None:
    # Without the id MLflow starts a nested run in its default experiment.
    experiment = mlflow.active_run().info.experiment_id
    name, state = f"attempt {attempt.number}", "pruned" if attempt.pruned else "whole"
    tags = {"kind": _SEARCH, "state": state}
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
        GATE_TAG: _gate_tag(decision),
    }


def _gate_tag(decision: Decision) -> str:
    return GATE_PASSED if decision.passed else GATE_FAILED


def _set_challenger(store: MlflowStore, client: "MlflowClient", version: str, passed: bool) -> None:
    model = store.ranker.model
    aliases = client.get_registered_model(model).aliases
    if passed and str(aliases.get(CHAMPION)) == version:
        return
    if passed:
        client.set_registered_model_alias(model, CHALLENGER, version)
    elif str(aliases.get(CHALLENGER)) == version:
        client.delete_registered_model_alias(model, CHALLENGER)


def _file_of_version(client: "MlflowClient", version: "ModelVersion", file: str) -> str:
    """Returns the artifact path of a version's file.

    A run can be registered more than once. Its first version has the plain name, later ones a
    name with their number.
    """
    run_id = run_id_of(version)
    found = client.search_model_versions(f"name = '{version.name}'")
    first = min(int(one.version) for one in found if one.run_id == run_id)
    numbered = copy_name(file, str(version.version))
    existing = {one.path for one in client.list_artifacts(run_id)}
    return file if first == int(version.version) and numbered not in existing else numbered


def _tag(store: MlflowStore, client: "MlflowClient", version: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        client.set_model_version_tag(store.ranker.model, version, key, value)


def _signature(names: RankerNames) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = Schema([ColSpec("float", name) for name in INPUTS_OF[names.key]])
    return ModelSignature(inputs=columns, outputs=Schema([ColSpec("float", "score")]))


def _requirements() -> list[str]:
    import numpy
    import xgboost

    return [f"xgboost=={xgboost.__version__}", f"numpy=={numpy.__version__}"]
