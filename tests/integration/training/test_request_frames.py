"""The stream of requests: its inputs against one read for each pair, its blocks, its samples."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feature_repo.instants import DAY
from feature_repo.lake.reader import Lake
from feature_repo.names import COUPON, USER
from feature_repo.sources.requests import requests
from feature_repo.transforms.request.cart import CartLine
from feature_repo.transforms.request.ranker_inputs import (
    INPUTS_OF,
    RANKER_INPUTS,
    coupons_from_columns,
    ranker_inputs,
)
from tests.support.feature_cases import hard_cases
from tests.support.feature_logs import (
    START,
    USERS,
    change_instants,
    complete,
    feast_store,
    logs,
    relanded,
)
from tests.support.request_tables import request_table
from training.data.dataset import feast_reader, rows_of
from training.data.frame import RankingFrame, concatenated, groups, take
from training.data.request_frames import (
    LeftOut,
    RequestTables,
    frames_of_rankers,
    request_frames,
    request_tables,
)
from training.data.request_labels import RequestLabels
from training.data.sample import Sample

# Feast warns at import; this project cannot fix those warnings.
pytestmark = pytest.mark.filterwarnings("default")

HOUR = DAY // 24
HOME = len(INPUTS_OF["home"])
CART = [CartLine("p1", 2, 250.5), CartLine("p4", 1, 99), CartLine("unknown", 1, 1)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return feast_store(tmp_path_factory.mktemp("home"))


def tables_of(home, rows=None, carts=None) -> RequestTables:
    """The tables of the lake below ``home``; its requests are ``rows``, by default its own."""
    lake = Lake(home)
    state = lake.state()
    own = requests(lake, state) if rows is None else request_table(rows, carts)
    return request_tables(lake, state, own)


def frame_of(store, tables: RequestTables, **options) -> RankingFrame:
    return concatenated(*request_frames(tables, feast_reader(store), **options))


def slow_inputs(store, tables: RequestTables) -> dict[tuple[str, str], np.ndarray]:
    """The inputs of each candidate: coupons are read for every pair, at the pair's own instant."""
    read, raw = feast_reader(store), tables.raw
    labels = RequestLabels.of(tables.requests, raw.exposures, raw.coupons, raw.redemptions)
    names = np.asarray(raw.coupons["coupon_id"].to_pylist(), dtype=object)
    pairs = labels.pairs(np.arange(len(labels.at)))
    if not len(pairs):
        return {}
    of_pairs = read(COUPON, names[pairs.coupon].tolist(), labels.at[pairs.request])
    of_users = read(USER, tables.requests["user_id"].to_pylist(), labels.at)
    found = {}
    for row, request in enumerate(tables.requests.to_pylist()):
        mine = np.flatnonzero(pairs.request == row)
        if len(mine) < 2:
            continue
        lists = (request[f"cart_{name}"] for name in ("product_ids", "quantities", "unit_prices"))
        inputs = ranker_inputs(
            rows_of(of_users, np.array([row])),
            coupons_from_columns(rows_of(of_pairs, mine)),
            np.arange(len(mine)),
            labels.at[[row]],
            [list(map(CartLine, *lists))],
            attributes=tables.attributes,
        )[0]
        for pair, values in zip(mine, inputs, strict=True):
            found[request["request_id"], names[pairs.coupon[pair]]] = values
    return found


def check_inputs(store, log: dict, instants) -> int:
    """Compares the stream on users at these instants with the slow reads; returns the pairs."""
    home = relanded(store, log)
    rows = [(user, t) for t in sorted(set(instants)) for user in USERS]
    carts = [CART if number % 2 else [] for number in range(len(rows))]
    tables = tables_of(home, rows, carts)
    frames = list(request_frames(tables, feast_reader(store), block_pairs=600))
    expected = slow_inputs(store, tables)
    if not frames:
        assert expected == {}
        return 0
    frame = concatenated(*frames)
    keys = list(zip(frame.qid, frame.coupon_id, strict=True))
    assert set(keys) == set(expected) and len(keys) == len(expected)
    wanted = np.stack([expected[key] for key in keys])
    for place, name in enumerate(RANKER_INPUTS):
        np.testing.assert_allclose(
            frame.inputs[:, place], wanted[:, place], rtol=1e-6, err_msg=name
        )
    return len(keys)


def test_inputs_equal_those_of_a_read_for_each_request(store):
    log = complete(hard_cases())
    changes = [t + late for t in change_instants(log) for late in (0, 1)]
    assert check_inputs(store, log, changes) > 500


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(log=logs(), start=st.integers(0, 40))
def test_inputs_of_random_logs_equal_those_of_a_read_for_each_request(store, log, start):
    found = complete(log)
    changes = sorted(change_instants(found))
    check_inputs(store, found, [t + late for t in changes[start : start + 60] for late in (0, 1)])


def row(at: int, learned: int | None = None, **columns) -> dict:
    return {"event_timestamp": at, "created_timestamp": learned or at} | columns


def bought(user: str, product: str, at: int, basket: str | None = None, **columns) -> dict:
    name = f"{user}-{product}-{at}"
    default = {"event_id": name, "user_id": user, "event_type": "purchase", "product_id": product}
    default |= {"basket_id": basket or name, "quantity": 1, "amount": 500}
    return row(at, **default | columns)


def used(user: str, coupon: str, at: int, learned: int | None = None) -> dict:
    name = f"{user}-{coupon}-{at}"
    return row(at, learned, redemption_id=name, user_id=user, coupon_id=coupon)


def shop(*lines: dict, redemptions: Sequence[dict] = ()) -> dict:
    """A shop with an open campaign of three coupons; lines are added to its purchases."""
    coupons = {"A:x": "p1", "A:y": "p2", "B:x": "p3"}
    open_to_all = {"audience": "open", "valid_from": START, "valid_to": START + 100 * DAY}
    return complete(
        {
            "users": [row(START, user_id=user) for user in USERS],
            "products": [
                row(START, product_id=f"p{n}", category=f"c{n % 2}", brand="b") for n in range(1, 5)
            ],
            "coupons": [
                row(START, coupon_id=one, coupon_code=one, campaign_id=one[0]) | open_to_all
                for one in coupons
            ],
            "coupon_products": [
                row(START, coupon_id=one, product_id=product) for one, product in coupons.items()
            ],
            "exposures": [],
            "events": [
                *(
                    bought(f"u{n % 3 + 1}", f"p{n % 4 + 1}", START + n * 9 * HOUR)
                    for n in range(40)
                ),
                *lines,
            ],
            "redemptions": [used("u3", "A:y", START + 3 * DAY), *redemptions],
        }
    )


def visits(count: int = 18) -> list[tuple[str, int]]:
    return [(USERS[n % 3], START + 20 * DAY + n * 11 * HOUR) for n in range(count)]


@pytest.fixture(scope="module")
def tables(store):
    """Visits in the shop, at two of which a coupon is redeemed."""
    redemptions = [
        used("u1", "A:y", START + 22 * DAY, START + 23 * DAY),
        used("u2", "B:x", START + 24 * DAY, START + 25 * DAY),
    ]
    return tables_of(relanded(store, shop(redemptions=redemptions)), visits())


def test_blocks_of_any_size_hold_the_same_frame_in_the_order_of_time(store, tables):
    whole = frame_of(store, tables)
    assert (np.diff(whole.as_of) >= 0).all() and whole.label.sum() == 2
    parts = list(request_frames(tables, feast_reader(store), block_pairs=12))
    assert len(parts) > 3 and max(map(len, parts)) <= 12
    single = list(request_frames(tables, feast_reader(store), block_pairs=1))
    assert len(single) == len(groups(whole))
    for split in (parts, single):
        again = concatenated(*split)
        for field in fields(RankingFrame):
            np.testing.assert_array_equal(getattr(again, field.name), getattr(whole, field.name))


def test_sample_keeps_redeemed_visits_and_weights_a_share_of_the_others(store, tables):
    whole, left_out = frame_of(store, tables), LeftOut()
    sample = Sample(share=0.25, seed=3)
    part = frame_of(store, tables, sample=sample, left_out=left_out)
    redeemed = set(whole.qid[whole.label > 0])
    drawn = {one for one in set(whole.qid) if sample.is_drawn(one)}
    assert set(part.qid) == redeemed | drawn and len(drawn - redeemed) > 0
    assert set(part.weight[np.isin(part.qid, list(redeemed))]) == {1.0}
    assert set(part.weight[~np.isin(part.qid, list(redeemed))]) == {4.0}
    expected = take(whole, np.isin(whole.qid, part.qid))
    np.testing.assert_array_equal(part.inputs, expected.inputs)
    assert left_out.not_drawn == len(groups(whole)) - len(groups(part))


def test_requests_without_an_order_are_left_out_and_counted(store, tables):
    rows = [("unexposed", START), ("u1", START + 150 * DAY), *visits(3)]
    rows.sort(key=lambda one: one[1])
    left_out = LeftOut()
    some = replace(tables, requests=request_table(rows))
    frame = frame_of(store, some, left_out=left_out)
    assert len(groups(frame)) == 3
    assert left_out == LeftOut(no_candidate=2)


def test_each_ranker_gets_the_requests_that_it_learns_from(store, tables):
    whole = frame_of(store, tables)
    assert [key for key, _ in frames_of_rankers([whole], tables.requests)] == ["home", "checkout"]
    assert all(part is whole for _, part in frames_of_rankers([whole], tables.requests))
    first = np.arange(len(tables.requests)) == 0
    place = tables.requests.column_names.index("checkout")
    logged = tables.requests.set_column(place, "checkout", pa.array(~first))
    home, checkout = (part for _, part in frames_of_rankers([whole], logged))
    assert home is whole and len(groups(checkout)) == len(groups(whole)) - 1
    assert whole.qid[0] not in checkout.qid


def test_outcome_of_a_logged_request_is_open_until_a_day_after_its_basket(store, tables):
    own = request_table(visits(2), baskets=["b1", "b2"])
    later = own["basket_timestamp"].to_pylist()
    place = own.column_names.index("basket_timestamp")
    moved = own.set_column(place, "basket_timestamp", own["basket_timestamp"].take([1, 1]))
    frame = frame_of(store, replace(tables, requests=moved))
    assert set(frame.open_until) == {round(later[1].timestamp() * 1e6) + 25 * HOUR}


VISIT = START + 30 * DAY + 5 * HOUR


def visit(product: str, **columns) -> dict:
    return bought("u1", product, VISIT, "visit", **columns)


def inputs_of_visit(store, log: dict, late: int = 0) -> np.ndarray:
    """The inputs of the basket "visit" of u1: a row for each of its candidates, read ``late``."""
    tables, read = tables_of(relanded(store, log)), feast_reader(store)
    frames = request_frames(tables, lambda key, ids, at: read(key, ids, at + late))
    frame = concatenated(*frames)
    found = frame.inputs[frame.qid == "u1:visit"]
    assert len(found) == 3
    return found


def test_home_request_does_not_see_the_basket_and_the_checkout_request_sees_its_cart(store):
    """The same visit, once with a covered product in the basket and once with another one."""
    covered, other = (inputs_of_visit(store, shop(visit(one))) for one in ("p1", "p4"))
    np.testing.assert_array_equal(covered[:, :HOME], other[:, :HOME])
    cart = RANKER_INPUTS.index("cart_covered_amount")
    assert covered[:, cart].tolist() == [500, 0, 0] and not other[:, cart].any()


def test_basket_leaks_into_the_home_inputs_when_it_is_read_a_microsecond_late(store):
    """The test above would notice."""
    covered, other = (inputs_of_visit(store, shop(visit(one)), 1) for one in ("p1", "p4"))
    assert not np.array_equal(covered[:, :HOME], other[:, :HOME], equal_nan=True)


@pytest.mark.parametrize("learned, is_seen", [(VISIT + 19 * HOUR, False), (VISIT - 1, True)])
def test_redemption_of_another_user_counts_from_when_it_is_learned(store, learned, is_seen):
    """A source that knows the day only states that it is learned at the end of the day."""
    other = used("u2", "A:x", VISIT - 2 * HOUR, learned)
    before = inputs_of_visit(store, shop(visit("p1")))
    after = inputs_of_visit(store, shop(visit("p1"), redemptions=[other]))
    assert np.array_equal(before, after, equal_nan=True) != is_seen
    column = RANKER_INPUTS.index("others_redemption_count_all")
    assert after[:, column].tolist() == [float(is_seen), 1, 0]


def test_discount_of_a_coupon_in_the_basket_changes_no_input_of_the_visit(store):
    """``coupon_discount`` and a retailer's match would name the redeemed coupon."""
    redeemed = {"amount": 460, "coupon_match_discount": 40, "coupon_discount": 100}
    plain, discounted = (
        inputs_of_visit(store, shop(visit("p1", **columns))) for columns in ({}, redeemed)
    )
    np.testing.assert_array_equal(plain, discounted)
