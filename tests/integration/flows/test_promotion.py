"""What the demo does with the gate's word, up to the model that then serves."""

from dataclasses import dataclass

import numpy as np
import pytest

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from tests.support.registered import FAILED, PASSED, registered, store
from training.registry.promotion_gate import Decision


@dataclass(frozen=True)
class Outcome:
    """As much of a training run's outcome as the demo acts on."""

    version: str
    decision: Decision


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def outcomes(home):
    """A version that passed and, logged after it, one that failed."""
    return {
        decision.passed: Outcome(registered(home, decision), decision)
        for decision in (PASSED, FAILED)
    }


def serving(home):
    """The ranker that a service over this registry would rank by."""
    from serving.models.mlflow_registry import MlflowRegistry
    from serving.models.slot import ModelSlot

    slot = ModelSlot(MlflowRegistry(store(home).uri))
    slot.refresh()
    return slot.current


def test_failed_gate_promotes_nothing_and_the_rule_serves(home, outcomes, monkeypatch):
    from flows.cli.demo import promote_or_say_why

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert promote_or_say_why(home, outcomes[False]) is False
    assert serving(home).name == "own_spend"


def test_passed_gate_promotes_and_the_champion_serves(home, outcomes, monkeypatch):
    from flows.cli.demo import promote_or_say_why

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert promote_or_say_why(home, outcomes[True]) is True
    ranker = serving(home)
    assert (ranker.name, ranker.version) == ("coupon_ranker", outcomes[True].version)
    rows = np.zeros((2, len(RANKER_INPUTS)), dtype=np.float32)
    assert ranker.score(rows).shape == (2,)
    assert promote_or_say_why(home, outcomes[False]) is False
    assert serving(home).version == outcomes[True].version
