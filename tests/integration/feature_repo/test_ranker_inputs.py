"""Ranker inputs equal their definitions, and are the same in training and serving."""

import asyncio

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feature_repo.home import REPOSITORY
from feature_repo.lake.product_attributes import product_attributes
from feature_repo.lake.reader import Lake
from feature_repo.transforms.request.ranker_inputs import DERIVED, INPUTS_OF, RANKER_INPUTS
from serving.candidates.index import index_from_columns
from serving.online.feast_reader import FeastOnline
from serving.recommend.features import candidate_inputs
from serving.schemas.recommendation import RecommendationRequest
from tests.support.brute_force_inputs import inputs
from tests.support.brute_histories import Measured
from tests.support.brute_rows import Raw
from tests.support.feature_cases import hard_cases
from tests.support.feature_frames import frame_of
from tests.support.feature_logs import (
    COUPONS,
    DAY,
    PRODUCTS,
    START,
    USERS,
    change_instants,
    complete,
    complete_until,
    deliveries,
    feast_store,
    land,
    logs,
    moment,
    relanded,
    some_instants,
)

# The import of Feast gives warnings that we cannot fix.
pytestmark = pytest.mark.filterwarnings("default")

RANDOM = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
USER_IDS = (*USERS, "unknown")
CART = (
    {"product_id": PRODUCTS[0], "quantity": 2.0, "unit_price": 0.5},
    {"product_id": PRODUCTS[1], "quantity": 1.0, "unit_price": 3.25},
    {"product_id": PRODUCTS[0], "quantity": 1.0, "unit_price": 0.45},
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return feast_store(tmp_path_factory.mktemp("home"))


def check(found: np.ndarray, expected: dict, where: str) -> None:
    """Compares a row of inputs with its definition, as exactly as float32 allows.

    Whole numbers and days must be the nearest float32. Sums of decayed weights and their shares may
    differ by 1e-9 relative to their terms before the rounding to float32.
    """
    for name, value in zip(RANKER_INPUTS, found, strict=True):
        wanted = expected[name] if name in DERIVED else expected.get(name, np.nan)
        slack = 0.0
        if isinstance(wanted, Measured):
            wanted, slack = wanted.value, 1e-9 * wanted.scale
        low, high = np.float32(wanted - slack), np.float32(wanted + slack)
        fits = np.isnan(value) if np.isnan(wanted) else low <= value <= high
        assert fits, f"{name} {where}: expected {wanted}, got {value}"


def check_training(store, log: dict, instants) -> None:
    frame, raw = frame_of(store, USER_IDS, (*COUPONS, "unknown"), instants), Raw(log)
    assert len(frame) == len(instants) * len(USER_IDS) * (len(COUPONS) + 1)
    for user, coupon, t, found in zip(
        frame.user_id, frame.coupon_id, frame.as_of, frame.inputs, strict=True
    ):
        check(found, inputs(raw, user, coupon, int(t)), f"of {user} and {coupon} at {t}")


def test_inputs_of_the_hard_cases_equal_their_definitions(store):
    log = complete(hard_cases())
    relanded(store, log, watermark=complete_until(log))
    check_training(store, log, change_instants(log)[::7])


@settings(RANDOM, max_examples=4)
@given(log=logs(), data=st.data())
def test_inputs_in_training_equal_their_definitions_from_the_raw_rows(store, log, data):
    relanded(store, *data.draw(deliveries(log)))
    check_training(store, log, data.draw(some_instants(log, 30)))


@settings(RANDOM, max_examples=2)
@given(log=logs(), data=st.data())
def test_inputs_in_serving_equal_those_in_training_at_the_materialized_instant(
    tmp_path_factory, log, data
):
    home = tmp_path_factory.mktemp("home")
    land(home, log)
    t = data.draw(st.sampled_from([one for one in change_instants(log) if one > START]))
    store = our_store(home)
    store.materialize(moment(START - 40 * DAY), moment(t))
    online = FeastOnline(store)
    online.refresh()
    lake = Lake(home)
    attributes = product_attributes(lake, lake.state())
    index = index_from_columns(online.coupons(COUPONS), products=attributes)
    request = RecommendationRequest(user_id="u1", placement="home", cart=CART)
    cart = [item.priced() for item in request.cart]
    frame, raw = frame_of(store, USER_IDS, COUPONS, [t]), Raw(log)
    home_inputs = len(INPUTS_OF["home"])
    for user in USER_IDS:
        known = asyncio.run(online.user(user))
        seen = candidate_inputs(request, known, index, np.arange(len(index)), t)
        own = frame.user_id == user
        trained = dict(zip(frame.coupon_id[own], frame.inputs[own], strict=True))
        for coupon, served in zip(index.coupon_id, seen, strict=True):
            check(served, inputs(raw, user, coupon, t, cart), f"of {user} and {coupon} at {t}")
            np.testing.assert_array_equal(served[:home_inputs], trained[coupon][:home_inputs])


def our_store(home):
    """Opens the store of feature_store.yaml over ``home``, with the state after `feast apply`."""
    from feast import FeatureStore

    from feature_repo import definitions

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPWISE_HOME", str(home))
        store = FeatureStore(repo_path=str(REPOSITORY))
    store.apply([getattr(definitions, name) for name in definitions.__all__])
    return store


def test_products_beyond_the_1024_heaviest_count_only_with_changes_of_today(store):
    names = [f"p{number:04d}" for number in range(1_032)]
    at = {"event_timestamp": START, "created_timestamp": START}
    plan = {"coupon_id": "A:x", "coupon_code": "x", "campaign_id": "A", "audience": "open"}
    plan |= {"valid_from": START, "valid_to": START + 90 * DAY}
    bought = [_purchase(name, START + DAY) for name in names]
    returned = bought[1_027] | {"event_type": "view", "created_timestamp": START + 4 * DAY + 5}
    scope = [{"coupon_id": "A:x", "product_id": name} for name in ("p0000", "p1027", "p1028")]
    log = {
        "users": [{"user_id": "u1"} | at],
        "products": [{"product_id": name} | at for name in names],
        "coupons": [plan | at],
        "coupon_products": [pair | at for pair in scope],
        "events": [*bought, returned, _purchase("p1028", START + 4 * DAY + 6)],
    }
    log = complete(log)
    relanded(store, log)
    t = START + 4 * DAY + DAY // 2
    frame = frame_of(store, ["u1"], ["A:x"], [t])
    check(frame.inputs[0], inputs(Raw(log), "u1", "A:x", t), "of many products")
    assert frame.inputs[0][RANKER_INPUTS.index("own_product_count")] == 2


def _purchase(product: str, at: int) -> dict:
    event = {"event_id": f"{product}-{at}", "user_id": "u1", "event_type": "purchase"}
    times = {"event_timestamp": at, "created_timestamp": at}
    return event | {"product_id": product, "quantity": 1, "amount": 100} | times
