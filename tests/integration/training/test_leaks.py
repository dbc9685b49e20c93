"""No fact that became known at an exposure or later reaches the inputs of training."""

import numpy as np
import pytest

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from tests.support.feature_cases import hard_cases
from tests.support.feature_frames import frame_of
from tests.support.feature_logs import (
    COUPONS,
    DAY,
    START,
    USERS,
    complete,
    complete_until,
    feast_store,
    relanded,
)
from training.data.dataset import Read, feast_reader

# Feast warns at import; this project cannot fix those warnings.
pytestmark = pytest.mark.filterwarnings("default")

LOG = complete(hard_cases())
# A user buys at each of these instants, so that a leak of one microsecond is visible.
INSTANTS = [START + round(24 * days) * DAY // 24 for days in (9.5, 12, 25, 70)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return feast_store(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def with_past_facts(store):
    """The inputs at each instant, from a lake with only the facts known before it."""
    found = {}
    for t in INSTANTS:
        before = {name: [row for row in rows if _known(row) < t] for name, rows in LOG.items()}
        relanded(store, before, watermark=t)
        found[t] = frame_of(store, USERS, COUPONS, [t]).inputs
    return found


def _known(row: dict) -> int:
    return max(row["event_timestamp"], row["created_timestamp"])


@pytest.fixture(scope="module")
def with_later_facts(store, with_past_facts):
    """Reads the same inputs from a lake with all later facts, through any reader."""
    relanded(store, LOG, watermark=complete_until(LOG))

    def inputs(read: Read | None = None) -> dict[int, np.ndarray]:
        return {t: frame_of(store, USERS, COUPONS, [t], read).inputs for t in INSTANTS}

    return inputs


def differing(before: dict[int, np.ndarray], after: dict[int, np.ndarray]) -> dict[int, list[str]]:
    """The names of the inputs that later facts changed, by instant."""
    found = {}
    for t, inputs in before.items():
        same = np.isclose(inputs, after[t], rtol=1e-6, atol=0, equal_nan=True).all(axis=0)
        if not same.all():
            found[t] = [name for name, one in zip(RANKER_INPUTS, same, strict=True) if not one]
    return found


def test_later_facts_change_no_input_of_an_earlier_exposure(with_past_facts, with_later_facts):
    assert differing(with_past_facts, with_later_facts()) == {}


def test_later_redemption_changes_the_label_and_no_input(store, with_past_facts):
    relanded(store, LOG, watermark=complete_until(LOG))
    found = {t: frame_of(store, USERS, COUPONS, [t], redeemed=True) for t in INSTANTS}
    assert all(0 < one.label.sum() < len(one) for one in found.values())
    assert differing(with_past_facts, {t: one.inputs for t, one in found.items()}) == {}


@pytest.mark.parametrize("late", [1, DAY], ids=["a microsecond", "a day"])
def test_leak_from_after_the_exposure_is_detected(store, with_past_facts, with_later_facts, late):
    honest = feast_reader(store)

    def leaking(key, ids, as_of):
        return honest(key, ids, as_of + late)

    assert differing(with_past_facts, with_later_facts(leaking))
