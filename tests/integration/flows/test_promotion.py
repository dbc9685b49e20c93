"""The demo's promotion after the gate, up to the ranker that the service then uses."""

from dataclasses import dataclass

import numpy as np
import pytest

from feature_repo.names import HOME, RankerNames
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from tests.support.registered import FAILED, PASSED, registered, store
from training.registry.promotion_gate import Decision


@dataclass(frozen=True)
class Outcome:
    """The part of a training run's outcome that the promotion reads."""

    ranker: RankerNames
    version: str
    decision: Decision


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def outcomes(home):
    """A version that passed and, logged after it, one that failed."""
    return {
        decision.passed: Outcome(HOME, registered(home, decision), decision)
        for decision in (PASSED, FAILED)
    }


def served_ranker(home):
    """The ranker of a service that starts on this registry."""
    from serving.models.mlflow_registry import MlflowRegistry
    from serving.models.slot import ModelSlot

    slot = ModelSlot(HOME, MlflowRegistry(store(home).uri, HOME))
    slot.refresh()
    return slot.current


def test_version_that_failed_is_not_promoted_and_the_rule_serves(home, outcomes, monkeypatch):
    from flows.cli.demo import promote_if_passed

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert promote_if_passed(home, outcomes[False]) is False
    assert served_ranker(home).name == "spend_percov"


def test_version_that_passed_is_promoted_and_serves(home, outcomes, monkeypatch):
    from flows.cli.demo import promote_if_passed

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert promote_if_passed(home, outcomes[True]) is True
    ranker = served_ranker(home)
    assert (ranker.name, ranker.version) == ("home_ranker", outcomes[True].version)
    rows = np.zeros((2, len(RANKER_INPUTS)), dtype=np.float32)
    assert ranker.score(rows).shape == (2,)
    assert promote_if_passed(home, outcomes[False]) is False
    assert served_ranker(home).version == outcomes[True].version
