"""Writing and reading runs with a real MLflow store."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")

from feature_repo.names import CHALLENGER, CHECKOUT, HOME
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF
from serving.models.mlflow_registry import MlflowRegistry, load_ranker
from tests.support.registered import fitted
from training.models.ranker import RankerConfig
from training.registry.mlflow_store import EXPERIMENT, MlflowStore, TrackingError
from training.registry.promotion_gate import Check, Decision
from training.registry.records import GateRecord, Lineage, Origin, TrainingRun
from training.registry.run_reader import read_origin, read_predictions, require_version
from training.registry.run_writer import log_run, record_gate, search_run, set_champion
from training.studies.hyperparameters import Attempt

# MLflow and its libraries warn at import; this project cannot fix those warnings.
pytestmark = pytest.mark.filterwarnings("default")

INPUTS = INPUTS_OF["home"]
LINEAGE = Lineage(3, datetime(2018, 1, 1, tzinfo=UTC), "home_ranker_v1", "abc123")
PASSED = Decision((Check("rule", True, "It is better."),), "no_champion")
FAILED = Decision((Check("rule", False, "It is worse."),), "worse")
PARAMS = {"max_depth": 2, "test_start": "2017-10-01T00:00:00+00:00", "seed": 7}
TABLE = {"ranker": {"ndcg@10": 0.5, "mrr": 0.4}, "random": {"ndcg@10": 0.1, "mrr": 0.1}}


@pytest.fixture(scope="module")
def model():
    import xgboost

    rows = np.random.default_rng(0).random((40, len(INPUTS)), dtype=np.float32)
    names = list(INPUTS)
    data = xgboost.DMatrix(rows, (rows[:, 0] > 0.5).astype(float), feature_names=names)
    return xgboost.train({"nthread": 1, "max_depth": 2}, data, 3)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def store(home, model):
    """Version 1 passed the gate, version 2 failed, and version 3 has no decision."""
    tracking = MlflowStore(f"sqlite:///{home / 'mlflow.db'}", home / "mlartifacts", HOME)
    report, scores = home / "report.html", home / "predictions.parquet"
    report.write_text("<html></html>")
    ids = {name: ["a", "b"] for name in ("qid", "user_id", "coupon_id", "model")}
    pq.write_table(pa.table(ids | {"score": [0.5, 0.25]}), scores)
    versions = [log_run(tracking, model, TrainingRun(PARAMS, LINEAGE, (scores,))) for _ in range(3)]
    for version, decision in zip(versions, (PASSED, FAILED), strict=False):
        record_gate(tracking, version, GateRecord(TABLE, decision, {"version": version}, (report,)))
    return tracking, versions


def _client(tracking: MlflowStore):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.uri, registry_uri=tracking.uri)


def _run(tracking: MlflowStore, version: str):
    client = _client(tracking)
    return client.get_run(client.get_model_version(HOME.model, version).run_id)


def test_run_has_params_metrics_and_lineage(store):
    tracking, (version, *_) = store
    data = _run(tracking, version).data
    assert data.params == {name: str(value) for name, value in PARAMS.items()}
    assert data.metrics["ndcg_at_10"] == 0.5
    assert data.metrics["random/mrr"] == 0.1
    assert {key: data.tags[key] for key in LINEAGE.tags()} == LINEAGE.tags()
    assert data.tags["lake_version"] == "3"


def test_run_has_the_report_and_the_gate_as_files(store):
    tracking, (version, *_) = store
    folder = Path(_run(tracking, version).info.artifact_uri.removeprefix("file://"))
    assert (folder / "report.html").exists()
    assert json.loads((folder / "gate.json").read_text()) == {"version": version}
    assert folder.is_relative_to(tracking.artifact_root)


def test_version_has_gate_verdict_and_reason_as_tags(store):
    tracking, versions = store
    first, second, third = (
        _client(tracking).get_model_version(HOME.model, v).tags for v in versions
    )
    answers = ("gate", "verdict", "gate_reason")
    assert [first[name] for name in answers] == ["passed", "no_champion", "It is better."]
    assert [second[name] for name in answers] == ["failed", "worse", "It is worse."]
    assert not {*answers} & {*third}
    assert first["feast.feature_service"] == third["feast.feature_service"] == "home_ranker_v1"


def test_only_the_version_that_passed_is_challenger(store):
    tracking, (first, *_) = store
    aliases = _client(tracking).get_registered_model(HOME.model).aliases
    assert str(aliases[CHALLENGER]) == first


def test_challenger_that_fails_the_repeated_gate_loses_the_alias(store):
    tracking, (first, *_) = store
    record_gate(tracking, first, GateRecord(TABLE, FAILED, {"version": first, "again": True}))
    assert not _client(tracking).get_registered_model(HOME.model).aliases
    assert _client(tracking).get_model_version(HOME.model, first).tags["gate"] == "failed"
    record_gate(tracking, first, GateRecord(TABLE, PASSED, {"version": first}))
    assert CHALLENGER in _client(tracking).get_registered_model(HOME.model).aliases


def test_version_in_the_registry_scores_as_the_logged_model(store, model):
    tracking, (version, *_) = store
    rows = np.random.default_rng(1).random((5, len(INPUTS)), dtype=np.float32)
    loaded = load_ranker(MlflowRegistry(tracking.uri, HOME).read(version)).booster
    np.testing.assert_array_equal(loaded.inplace_predict(rows), model.inplace_predict(rows))


def test_origin_of_a_version_has_its_data_and_settings(store):
    tracking, (version, *_) = store
    settings = {name: str(value) for name, value in PARAMS.items() if name != "test_start"}
    commit = LINEAGE.git_commit
    assert read_origin(tracking, version) == Origin(3, PARAMS["test_start"], 7, commit, settings)
    found = read_predictions(tracking, version)
    assert found["score"].to_pylist() == [0.5, 0.25] and "user_id" not in found.column_names


def test_search_logs_every_attempt_in_a_nested_run(store):
    tracking, _ = store
    attempts = [
        Attempt(0, RankerConfig(), (0.25, 0.75), 0.5, False),
        Attempt(1, RankerConfig(max_depth=2), (0.125,), 0.125, True),
    ]
    with search_run(tracking, {"trials": 2}, LINEAGE) as keep:
        for attempt in attempts:
            keep(attempt)
    client = _client(tracking)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    runs = client.search_runs([experiment], "tags.kind = 'tune'", order_by=["start_time"])
    [search] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    kept = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == search.info.run_id]
    assert search.data.params == {"trials": "2"} and search.data.tags["lake_version"] == "3"
    assert [run.data.metrics["ndcg_at_10"] for run in kept] == [0.5, 0.125]
    assert [run.data.tags["state"] for run in kept] == ["whole", "pruned"]
    assert kept[1].data.params["max_depth"] == "2"
    steps = client.get_metric_history(kept[0].info.run_id, "ndcg_at_10_of_fold")
    assert [(one.step, one.value) for one in steps] == [(0, 0.25), (1, 0.75)]


def test_champion_has_the_reason_and_the_person_as_tags(store):
    tracking, (version, *_) = store
    set_champion(tracking, version, "demo", "ada")
    client = _client(tracking)
    assert str(client.get_registered_model(HOME.model).aliases["champion"]) == version
    tags = client.get_model_version(HOME.model, version).tags
    assert (tags["promotion_reason"], tags["promoted_by"]) == ("demo", "ada")


def test_error_for_an_unknown_version_lists_all_versions(store):
    tracking, _ = store
    for read in (require_version, read_origin, read_predictions):
        with pytest.raises(TrackingError, match="has no version 99: it has 1, 2, 3"):
            read(tracking, "99")


def test_rankers_share_the_experiment_and_have_versions_of_their_own(store):
    tracking, (version, *_) = store
    checkout = replace(tracking, ranker=CHECKOUT)
    made = log_run(checkout, fitted(ranker=CHECKOUT), TrainingRun(PARAMS, LINEAGE))
    client = _client(tracking)
    assert made == "1" == version
    both = [client.get_model_version(one.model, "1") for one in (HOME, CHECKOUT)]
    runs = [client.get_run(one.run_id).info for one in both]
    assert runs[0].run_id != runs[1].run_id and runs[0].experiment_id == runs[1].experiment_id
    margins = [one.tags["base_margin"] for one in both]
    assert margins == ["spend_percov rule-1", "cart_percov margin-2"]
    with pytest.raises(TrackingError, match="checkout_ranker has no version 3: it has 1"):
        require_version(checkout, "3")


def test_version_without_a_training_run_has_no_origin(store, model):
    tracking, _ = store
    version = log_run(tracking, model, TrainingRun({}, LINEAGE))
    with pytest.raises(TrackingError, match="lake_version, test_start and seed, got none"):
        read_origin(tracking, version)
