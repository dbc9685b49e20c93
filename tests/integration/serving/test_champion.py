import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from feature_repo.names import HOME
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF, RANKER_INPUTS
from serving.errors import ModelError
from serving.models.mlflow_registry import MlflowRegistry, load_ranker
from serving.models.slot import ModelSlot
from serving.models.xgboost_scorer import XGBoostScorer
from serving.policy.scores import RULES
from training.models.ranker import predict
from training.registry.golden_rows import write_golden_rows

# MLflow emits warnings when imported; we cannot fix them.
pytestmark = pytest.mark.filterwarnings("default")

MODEL = "home_ranker"


@dataclass(frozen=True)
class Tracking:
    uri: str
    client: object
    versions: dict[str, str]
    rankers: dict[str, object]

    def promote(self, name: str) -> str:
        self.client.set_registered_model_alias(MODEL, "champion", self.versions[name])
        return self.versions[name]

    def remove_champion(self) -> None:
        self.client.delete_registered_model_alias(MODEL, "champion")


def fitted(width: int, seed: int = 7):
    """Trains a booster of 30 trees that add to a base margin, as training does."""
    import xgboost

    random = np.random.default_rng(seed)
    inputs = random.random((80, width), dtype=np.float32)
    data = xgboost.DMatrix(inputs, random.integers(0, 2, 80))
    data.set_group([10] * 8)
    return xgboost.train({"objective": "rank:ndcg", "max_depth": 2, "nthread": 1}, data, 30)


def registered(
    client,
    ranker,
    columns: list[str],
    gate: str,
    golden: Path | None,
    margin: str = "spend_percov rule-1",
) -> str:
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    frame = pd.DataFrame(np.zeros((2, len(columns)), dtype=np.float32), columns=columns)
    signature = infer_signature(frame, np.zeros(2, dtype=np.float32))
    with mlflow.start_run() as run:
        # Stated requirements, as in training: MLflow would start a process to infer them.
        logged = mlflow.xgboost.log_model(
            ranker,
            name="model",
            signature=signature,
            registered_model_name=MODEL,
            pip_requirements=["xgboost"],
        )
    version = str(logged.registered_model_version)
    client.set_model_version_tag(MODEL, version, "gate", gate)
    client.set_model_version_tag(MODEL, version, "base_margin", margin)
    sha256 = hashlib.sha256(model_file(version).read_bytes()).hexdigest()
    artifact = {"model": MODEL, "version": version, "sha256": sha256, "gate": gate}
    client.log_dict(run.info.run_id, artifact, "gate.json")
    if golden is not None:
        client.log_artifact(run.info.run_id, str(golden))
    return version


def golden_file(booster, folder: Path) -> Path:
    folder.mkdir()
    rows = np.random.default_rng(7).random((9, len(RANKER_INPUTS)), dtype=np.float32)
    score = partial(predict, booster, ranker=HOME.key)
    return write_golden_rows(HOME, score, rows, folder / "golden.parquet")


def model_file(version: str) -> Path:
    import mlflow.artifacts

    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{version}"))
    (file,) = folder.glob("model.*b*")
    return file


@pytest.fixture(scope="module")
def tracking(tmp_path_factory) -> Tracking:
    import mlflow
    from mlflow.tracking import MlflowClient

    home = tmp_path_factory.mktemp("mlflow")
    uri, before = f"sqlite:///{home}/mlflow.db", mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    experiment = client.create_experiment("ranker", (home / "artifacts").as_uri())
    mlflow.set_experiment(experiment_id=experiment)
    columns = list(INPUTS_OF[HOME.key])
    width = len(columns)
    rankers = {"sound": fitted(width)}
    golden = golden_file(rankers["sound"], home / "golden")
    other = golden_file(fitted(width, seed=8), home / "other")
    versions = {
        "sound": registered(client, rankers["sound"], columns, "passed", golden),
        "wrong margin": registered(
            client, rankers["sound"], columns, "passed", golden, "popularity"
        ),
        "ungated": registered(client, rankers["sound"], columns, "failed", golden),
        "reordered": registered(client, rankers["sound"], columns[::-1], "passed", golden),
        "truncated": registered(client, rankers["sound"], columns, "passed", golden),
        "no golden rows": registered(client, rankers["sound"], columns, "passed", None),
        "other scores": registered(client, rankers["sound"], columns, "passed", other),
        "five inputs": registered(client, fitted(5), columns, "passed", golden),
        "broken MLmodel": registered(client, rankers["sound"], columns, "passed", golden),
    }
    truncate(versions["truncated"])
    model_file(versions["broken MLmodel"]).with_name("MLmodel").write_text("flavors: [")
    mlflow.set_tracking_uri(before)
    return Tracking(uri, client, versions, rankers)


def truncate(version: str) -> None:
    """Cuts a version's model file in half."""
    file = model_file(version)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.fixture
def slot(tracking) -> ModelSlot:
    yield ModelSlot(HOME, MlflowRegistry(tracking.uri, HOME))
    if tracking.client.get_registered_model(MODEL).aliases:
        tracking.remove_champion()


def test_without_a_registered_model_there_is_no_champion(tmp_path):
    assert MlflowRegistry(f"sqlite:///{tmp_path}/empty.db", HOME).champion_version() is None


def test_without_the_alias_there_is_no_champion(tracking):
    assert MlflowRegistry(tracking.uri, HOME).champion_version() is None


def test_champion_adds_its_trees_to_the_rule(tracking, slot):
    import xgboost

    version = tracking.promote("sound")
    slot.refresh()
    assert slot.problem is None and slot.current.version == version
    inputs = np.random.default_rng(1).random((50, len(RANKER_INPUTS)), dtype=np.float32)
    inputs[::3, ::5] = np.nan
    data = xgboost.DMatrix(inputs[:, : len(INPUTS_OF[HOME.key])])
    data.set_base_margin(RULES[HOME.key].margin(inputs))
    expected = tracking.rankers["sound"].predict(data)
    np.testing.assert_allclose(slot.current.score(inputs), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ungated", "gate=failed"),
        ("wrong margin", "base_margin=popularity"),
        ("reordered", "as input 0"),
        ("truncated", "gate.json with sha256"),
        ("no golden rows", "has no rows in the artifact golden.parquet"),
        ("other scores", "of its 10 golden rows differently than in training"),
        ("five inputs", "cannot be loaded (Feature shape mismatch"),
        ("broken MLmodel", "cannot be loaded (while parsing"),
    ],
)
def test_champion_that_fails_a_check_never_serves_and_the_old_one_stays(tracking, slot, name, why):
    sound = tracking.promote("sound")
    slot.refresh()
    bad = tracking.promote(name)
    slot.refresh()
    assert slot.current.version == sound
    assert f"version {bad}" in slot.problem and why in slot.problem


def test_invalid_model_file_is_refused_with_one_sentence(tracking):
    registered = MlflowRegistry(tracking.uri, HOME).read(tracking.versions["truncated"])
    for model in (registered.model, b"", b"no trees"):
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_ranker(replace(registered, model=model))


def test_changed_alias_is_served_without_a_restart(tracking, slot):
    slot.refresh()
    assert slot.current.name == "spend_percov"
    tracking.promote("sound")
    slot.refresh()
    assert slot.current.name == MODEL
    tracking.remove_champion()
    slot.refresh()
    assert slot.current.name == "spend_percov"


def test_registry_that_cannot_be_opened_is_reported_in_one_sentence(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is no database")
    with pytest.raises(ModelError, match="The registry does not answer"):
        MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db", HOME).champion_version()


def test_scorer_equals_inplace_predict_bit_for_bit_for_any_row_count_in_any_thread():
    booster, random = fitted(len(RANKER_INPUTS)), np.random.default_rng(5)
    score = XGBoostScorer(booster, len(RANKER_INPUTS))
    few = [
        random.random((count, len(RANKER_INPUTS)), dtype=np.float32) for count in (7, 300, 1, 64)
    ]
    few[1][::3] = np.nan
    with ThreadPoolExecutor(4) as pool:
        scores = list(pool.map(score, few * 25))
    for inputs, found in zip(few * 25, scores, strict=True):
        np.testing.assert_array_equal(found, booster.inplace_predict(inputs))
