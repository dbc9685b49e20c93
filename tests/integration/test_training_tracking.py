"""The tracking against a real MLflow store of its own."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")

from feature_repo.names import CHALLENGER, RANKER_MODEL
from feature_repo.transforms.request import RANKER_INPUTS
from training.promotion import Decision
from training.tracking import Lineage, PromotionRefused, Tracking, TrackingError, TrainingRun

# Warnings of MLflow's own import and of its libraries are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

LINEAGE = Lineage(3, datetime(2018, 1, 1, tzinfo=UTC), "coupon_ranker_v1", "abc123")
PASSED = Decision(True, ("The ranker is better.", "There are enough groups."))
FAILED = Decision(False, ("The ranker is worse.",))


@pytest.fixture(scope="module")
def model():
    import xgboost

    rows = np.random.default_rng(0).random((40, len(RANKER_INPUTS)), dtype=np.float32)
    names = list(RANKER_INPUTS)
    data = xgboost.DMatrix(rows, (rows[:, 0] > 0.5).astype(float), feature_names=names)
    return xgboost.train({"nthread": 1, "max_depth": 2}, data, 3)


@pytest.fixture(scope="module")
def store(tmp_path_factory, model):
    """Version 1 passed the gate, version 2 did not."""
    home = tmp_path_factory.mktemp("home")
    tracking = Tracking(f"sqlite:///{home / 'mlflow.db'}", home / "mlartifacts")
    before = tracking.champion()
    report = home / "report.html"
    report.write_text("<html></html>")
    table = {"ranker": {"ndcg@10": 0.5, "mrr": 0.4}, "random": {"ndcg@10": 0.1, "mrr": 0.1}}
    versions = [
        tracking.log(model, TrainingRun({"max_depth": 2}, table, LINEAGE, decision, (report,)))
        for decision in (PASSED, FAILED)
    ]
    return tracking, before, versions


def _client(tracking: Tracking):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.uri, registry_uri=tracking.uri)


def _run(tracking: Tracking, version: str):
    client = _client(tracking)
    return client.get_run(client.get_model_version(RANKER_MODEL, version).run_id)


def test_a_store_without_any_model_has_no_champion(store):
    assert store[1] is None


def test_run_keeps_params_metrics_and_lineage(store):
    tracking, _, (version, _) = store
    data = _run(tracking, version).data
    assert data.params == {"max_depth": "2"}
    assert data.metrics["ndcg_at_10"] == 0.5
    assert data.metrics["random/mrr"] == 0.1
    assert {key: data.tags[key] for key in LINEAGE.tags()} == LINEAGE.tags()
    assert data.tags["lake_version"] == "3"


def test_run_keeps_the_report_and_the_gate_as_files(store):
    tracking, _, (version, _) = store
    folder = Path(_run(tracking, version).info.artifact_uri.removeprefix("file://"))
    assert (folder / "report.html").exists()
    assert json.loads((folder / "gate.json").read_text()) == {
        "gate": "passed",
        "reasons": list(PASSED.reasons),
    }
    assert folder.is_relative_to(tracking.artifact_root)


def test_version_carries_the_decision_and_its_reason(store):
    tracking, _, versions = store
    first, second = (_client(tracking).get_model_version(RANKER_MODEL, v).tags for v in versions)
    assert first["gate"] == "passed"
    assert second["gate"] == "failed"
    assert second["gate_reason"] == "The ranker is worse."
    assert first["feast.feature_service"] == "coupon_ranker_v1"


def test_only_the_version_that_passed_is_challenger(store):
    tracking, _, (first, _) = store
    aliases = _client(tracking).get_registered_model(RANKER_MODEL).aliases
    assert str(aliases[CHALLENGER]) == first


def test_loaded_model_scores_as_the_logged_one_and_names_its_inputs(store, model):
    from mlflow.models import get_model_info

    tracking, _, (version, _) = store
    rows = np.random.default_rng(1).random((5, len(RANKER_INPUTS)), dtype=np.float32)
    loaded = tracking.load(version)
    np.testing.assert_array_equal(loaded.inplace_predict(rows), model.inplace_predict(rows))
    signature = get_model_info(f"models:/{RANKER_MODEL}/{version}").signature
    assert signature.inputs.input_names() == list(RANKER_INPUTS)


def test_promotion_keeps_the_reason_and_who_decided(store):
    tracking, _, (version, _) = store
    tracking.promote(version, "demo", "ada")
    assert tracking.champion() == version
    tags = _client(tracking).get_model_version(RANKER_MODEL, version).tags
    assert (tags["promotion_reason"], tags["promoted_by"]) == ("demo", "ada")


def test_version_that_failed_the_gate_is_not_promoted(store):
    tracking, _, (first, second) = store
    tracking.promote(first, "demo", "ada")
    with pytest.raises(PromotionRefused, match="gate=failed"):
        tracking.promote(second, "I like it", "ada")
    assert tracking.champion() == first


def test_promotion_of_an_unknown_version_or_without_a_reason_says_what_to_do(store):
    tracking, _, (first, _) = store
    with pytest.raises(TrackingError, match="has no version 99: it has 1, 2"):
        tracking.promote("99", "demo", "ada")
    with pytest.raises(TrackingError, match="Expected a reason"):
        tracking.promote(first, " ", "ada")
