"""What the demo does with the gate's word, up to the model that then serves."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest

from feature_repo.transforms.request import RANKER_INPUTS
from training.promotion import Decision


@dataclass(frozen=True)
class Outcome:
    """As much of a training run's outcome as the demo acts on."""

    version: str
    decision: Decision


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def uri(home):
    """The store that the demo uses too; MLflow itself sets the variable for it once it was told."""
    return f"sqlite:///{home / 'mlflow.db'}"


@pytest.fixture(scope="module")
def outcomes(home):
    """A version that passed and, logged after it, one that failed."""
    import xgboost

    from training.tracking import Lineage, Tracking, TrainingRun

    rows = np.random.default_rng(0).random((40, len(RANKER_INPUTS)), dtype=np.float32)
    data = xgboost.DMatrix(rows, rows[:, 0] > 0.5, feature_names=list(RANKER_INPUTS))
    model = xgboost.train({"nthread": 1, "max_depth": 2}, data, 3)
    tracking = Tracking(uri(home), home / "mlartifacts")
    lineage = Lineage(1, datetime(2018, 1, 1, tzinfo=UTC), "coupon_ranker_v1", None)
    found = {}
    for decision in (Decision(True, ("It is better.",)), Decision(False, ("It is worse.",))):
        run = TrainingRun({}, {"ranker": {"ndcg@10": 0.5}}, lineage, decision)
        found[decision.passed] = Outcome(tracking.log(model, run), decision)
    return found


def serving(home):
    """The ranker that a service over this registry would rank by."""
    from serving.model import MlflowRegistry, ModelSlot

    slot = ModelSlot(MlflowRegistry(uri(home)))
    slot.refresh()
    return slot.current


def test_failed_gate_promotes_nothing_and_the_rule_serves(home, outcomes, monkeypatch):
    from flows.demo import promote_or_say_why

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert promote_or_say_why(home, outcomes[False]) is False
    assert serving(home).name == "own_purchases"


def test_passed_gate_promotes_and_the_champion_serves(home, outcomes, monkeypatch):
    from flows.demo import promote_or_say_why

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert promote_or_say_why(home, outcomes[True]) is True
    ranker = serving(home)
    assert (ranker.name, ranker.version) == ("coupon_ranker", outcomes[True].version)
    rows = np.zeros((2, len(RANKER_INPUTS)), dtype=np.float32)
    assert ranker.score(rows).shape == (2,)
    assert promote_or_say_why(home, outcomes[False]) is False
    assert serving(home).version == outcomes[True].version
