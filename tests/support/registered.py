"""Registered versions in a real MLflow store, as training makes them."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from feature_repo.names import GOLDEN_FILE, HOME, RankerNames
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF, RANKER_INPUTS
from serving.models.mlflow_registry import MlflowRegistry
from training.models.ranker import predict
from training.registry.golden_rows import write_golden_rows
from training.registry.mlflow_store import MlflowStore
from training.registry.promotion_gate import Check, Decision
from training.registry.records import GateRecord, Lineage, TrainingRun
from training.registry.run_writer import log_run, record_gate

PASSED = Decision((Check("rule", True, "It is better."),), "no_champion")
FAILED = Decision((Check("rule", False, "It is worse."),), "worse")
WATERMARK = datetime(2018, 1, 1, tzinfo=UTC)


def store(home: Path, ranker: RankerNames = HOME) -> MlflowStore:
    """The MLflow store of a state folder, for a ranker."""
    return MlflowStore(f"sqlite:///{home / 'mlflow.db'}", home / "mlartifacts", ranker)


def client(home: Path):
    """An MLflow client of the store."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store(home).uri, registry_uri=store(home).uri)


def fitted(seed: int = 7, ranker: RankerNames = HOME):
    """Fits small trees of a ranker as training does; another seed gives other trees."""
    import xgboost

    random = np.random.default_rng(seed)
    names = list(INPUTS_OF[ranker.key])
    inputs = random.random((80, len(names)), dtype=np.float32)
    data = xgboost.DMatrix(inputs, random.integers(0, 2, 80), feature_names=names)
    data.set_group([10] * 8)
    return xgboost.train({"objective": "rank:ndcg", "max_depth": 2, "nthread": 1}, data, 10)


def registered(
    home: Path,
    decision: Decision | None = PASSED,
    seed: int = 7,
    ranker: RankerNames = HOME,
    model=None,
) -> str:
    """Registers a version with the gate's decision; None stands for an interrupted training.

    The version has the trees of ``model``, by default small ones that depend on the seed.
    """
    model, tracking = model or fitted(seed, ranker), store(home, ranker)
    rows = np.random.default_rng(seed).random((9, len(RANKER_INPUTS)), dtype=np.float32)
    golden = write_golden_rows(
        ranker, partial(predict, model, ranker=ranker.key), rows, home / GOLDEN_FILE
    )
    lineage = Lineage(1, WATERMARK, ranker.service, None)
    version = log_run(tracking, model, TrainingRun({}, lineage, (golden,)))
    if decision is not None:
        found = MlflowRegistry(tracking.uri, ranker).read(version)
        gate = "passed" if decision.passed else "failed"
        artifact = {"model": ranker.model, "version": version, "sha256": found.sha256, "gate": gate}
        record_gate(tracking, version, GateRecord({}, decision, artifact))
    return version


def run_folder(home: Path, version: str) -> Path:
    """The folder with the artifacts of a version's run."""
    run_id = client(home).get_model_version(HOME.model, version).run_id
    return Path(client(home).get_run(run_id).info.artifact_uri.removeprefix("file://"))


def model_file(home: Path, version: str) -> Path:
    """The file with a version's trees."""
    place = client(home).get_model_version_download_uri(HOME.model, version)
    return Path(place.removeprefix("file://")) / "model.ubj"


def tamper(home: Path, version: str, /, **changes: object) -> None:
    """Changes values in the gate's artifact."""
    file = run_folder(home, version) / "gate.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def tag(home: Path, version: str, **tags: str) -> None:
    """Sets tags of a version."""
    for name, value in tags.items():
        client(home).set_model_version_tag(HOME.model, version, name, value)


def set_alias(
    home: Path, version: str, alias: str = "champion", ranker: RankerNames = HOME
) -> None:
    """Sets an alias as the MLflow UI does."""
    client(home).set_registered_model_alias(ranker.model, alias, version)
