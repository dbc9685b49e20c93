"""Flows on the visits of a small shop: data of a training, a retrain of both, a backtest."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.instants import from_microseconds, microseconds
from feature_repo.lake.reader import Lake
from feature_repo.names import CHECKOUT, HOME, RANKERS
from flows import experiment_data
from flows.backtest import run_backtest
from flows.experiment_data import TEST_WEEKS, load_experiment_data, sampled_visits
from flows.retrain import retrain
from tests.support.example_shop import example_home
from training.data.frame import group_starts
from training.models.baselines import plain_rules
from training.studies.backtest import MONTHLY, WEEK_LATE

# Feast warns at import; this project cannot fix those warnings.
pytestmark = pytest.mark.filterwarnings("default")

SEED = 2017
MAY = "2025-05-01T00:00:00Z"
JUNE = "2025-06-01T00:00:00Z"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return example_home(tmp_path_factory)


@pytest.fixture(autouse=True)
def own_folder(home, monkeypatch):
    monkeypatch.setenv("CLIPWISE_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def visits(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPWISE_HOME", str(home))
        return sampled_visits(home, Lake(home).state(), SEED)


def test_test_starts_at_the_midnight_eight_weeks_before_the_watermark(home):
    (data,) = load_experiment_data(home, (HOME,), None, None, SEED)
    watermark = Lake(home).state().watermark
    assert data.test_start <= watermark - timedelta(weeks=TEST_WEEKS)
    assert watermark - timedelta(weeks=TEST_WEEKS) - data.test_start < timedelta(days=1)
    assert data.test_start.time() == datetime.min.time()
    start = microseconds(data.test_start)
    assert (data.test.as_of >= start).all()
    assert (data.train.as_of < start).all() and (data.valid.as_of < start).all()


def test_every_ranker_has_its_own_rules_and_the_same_visits_without_a_log(home):
    both = load_experiment_data(home, (HOME, CHECKOUT), None, MAY, SEED)
    assert [data.ranker for data in both] == [HOME, CHECKOUT]
    assert [tuple(data.rules) for data in both] == [plain_rules("home"), plain_rules("checkout")]
    assert both[0].frame.qid.tolist() == both[1].frame.qid.tolist()
    # The frame is the only copy of the inputs: its parts share them.
    for data in both:
        assert np.shares_memory(data.test.inputs, both[0].frame.inputs)


def test_sample_keeps_every_visit_with_a_redemption(home, visits, monkeypatch):
    monkeypatch.setattr(experiment_data, "OTHERS", 60)
    few = sampled_visits(home, Lake(home).state(), SEED)
    redeemed = set(visits.frame.qid[visits.frame.label > 0])
    assert set(few.frame.qid[few.frame.label > 0]) == redeemed
    starts = group_starts(few.frame.qid)
    weights = dict(zip(few.frame.qid[starts], few.frame.weight[starts], strict=True))
    others = [weight for qid, weight in weights.items() if qid not in redeemed]
    assert 0 < len(others) < len(set(visits.frame.qid) - redeemed)
    assert {weights[qid] for qid in redeemed} == {1.0}
    assert len(set(others)) == 1 and few.left_out.not_drawn > 0
    total = len(set(visits.frame.qid) - redeemed)
    assert sum(others) == pytest.approx(total, rel=0.5)


def test_logged_request_is_learned_by_the_ranker_of_its_placement_alone(home, visits, tmp_path):
    """A request at the home page, an hour before a basket, replaces that basket's home visit."""
    later = tmp_path / "home"
    shutil.copytree(home, later)
    qid = next(iter(visits.frame.qid[visits.frame.label > 0]))
    row = np.flatnonzero(visits.frame.qid == qid)[0]
    at = from_microseconds(int(visits.frame.as_of[row]) - 3_600_000_000)
    log = {
        "request_id": ["logged"],
        "user_id": [visits.frame.user_id[row]],
        "event_timestamp": pa.array([at], pa.timestamp("us", "UTC")),
        "placement": ["home"],
        "role": ["served"],
        "cart_product_ids": pa.array([[]], pa.list_(pa.string())),
        "cart_quantities": pa.array([[]], pa.list_(pa.float64())),
        "cart_unit_prices": pa.array([[]], pa.list_(pa.float64())),
    }
    (later / "decisions").mkdir()
    pq.write_table(pa.table(log), later / "decisions" / "one.parquet")
    before, checkout = load_experiment_data(later, (HOME, CHECKOUT), None, MAY, SEED)
    assert "logged" in before.frame.qid and qid not in before.frame.qid
    assert qid in checkout.frame.qid and "logged" not in checkout.frame.qid
    logged = before.frame.qid == "logged"
    assert before.frame.label[logged].any()
    assert set(before.frame.qid) - {"logged"} == set(checkout.frame.qid) - {qid}


def test_retrain_registers_a_version_of_both_rankers(home, monkeypatch, tmp_path):
    from mlflow import MlflowClient

    own = tmp_path / "home"
    shutil.copytree(home, own)
    monkeypatch.setenv("CLIPWISE_HOME", str(own))
    found = retrain.fn(test_start=MAY)
    assert [one.ranker for one in found] == list(RANKERS.values())
    client = MlflowClient(f"sqlite:///{own / 'mlflow.db'}")
    for one in found:
        version = client.get_model_version(one.ranker.model, one.version)
        assert version.tags["gate"] in ("passed", "failed")
        kept = pq.read_table(one.predictions)
        assert set(kept["ranker"].to_pylist()) == {one.ranker.key}
        assert set(plain_rules(one.ranker.key)) < set(kept["model"].to_pylist())
        assert one.report.parent.name == one.ranker.key and one.report.exists()
    (again,) = retrain.fn(ranker="checkout", test_start=MAY, seed=7)
    assert (again.ranker, again.version) == (CHECKOUT, "2")


@pytest.fixture(scope="module")
def backtested(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPWISE_HOME", str(home))
        return run_backtest.fn(MAY, seed=SEED, frozen_from=JUNE)


def test_backtest_keeps_every_visit_with_its_probability(home, visits, backtested):
    kept = pq.read_table(backtested.visits)
    tested = visits.frame.as_of >= microseconds(datetime(2025, 5, 1, tzinfo=UTC))
    for ranker in RANKERS:
        mine = [row for row in kept.to_pylist() if row["ranker"] == ranker]
        assert len(mine) == len(set(visits.frame.qid[tested]))
        assert sum(row["redeemed"] for row in mine) == visits.frame.label[tested].sum()
        known = [row["probability"] for row in mine if not np.isnan(row["probability"])]
        assert known and all(0 < one < 1 for one in known)


def test_backtest_keeps_the_scores_of_every_model(backtested):
    kept = pq.read_table(backtested.predictions)
    pairs = set(zip(kept["ranker"].to_pylist(), kept["model"].to_pylist(), strict=True))
    trained = ("ranker", MONTHLY, WEEK_LATE)
    assert pairs == {
        (ranker, model) for ranker in RANKERS for model in (*trained, *plain_rules(ranker))
    }
    assert all(row["fold"] <= row["as_of"] for row in kept.to_pylist())


def test_backtest_reports_both_rankers_and_the_parts_before_and_after_an_instant(backtested):
    found = json.loads(backtested.report.read_text())
    assert (found["first"], found["frozen_from"], found["lake_version"]) == (MAY, JUNE, 1)
    assert list(found["rankers"]) == list(RANKERS)
    for key, summary in found["rankers"].items():
        assert summary["ranker"] == key and summary["best_rule"] in plain_rules(key)
        parts = summary["parts"]
        for count in ("all", "redeemed"):
            counts = [parts[name]["groups"][count] for name in ("development", "frozen")]
            assert all(counts) and sum(counts) == summary["groups"][count]
        assert set(summary["retraining"]) == {MONTHLY, WEEK_LATE}
    assert found["rankers"]["checkout"]["cold_start"] is None
    assert "ranker" in found["rankers"]["home"]["cold_start"]["models"]
