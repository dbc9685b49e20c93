"""Requests of a shop, from its baskets and from its decision log."""

import random
from dataclasses import replace

import pytest

from feature_repo.lake.reader import Lake
from feature_repo.sources.requests import requests
from serving.decisions.files import write_decisions
from serving.decisions.record import SHADOW
from tests.support.decision_writers import decision
from tests.support.feature_logs import DAY, START, WATERMARK, complete, land

HOUR = DAY // 24
AT_CHECKOUT = ("checkout", "cart")


def row(at: int, created: int | None = None, **columns) -> dict:
    return {"event_timestamp": at, "created_timestamp": created or at} | columns


def exposure(user: str, campaign: str, at: int, created: int | None = None) -> dict:
    return row(at, created, exposure_id=f"{user}{campaign}{at}", user_id=user, campaign_id=campaign)


def coupon(name: str, campaign: str = "a", audience: str = "targeted", **columns) -> dict:
    default = {"coupon_id": name, "coupon_code": name, "campaign_id": campaign}
    default |= {"audience": audience, "valid_from": START, "valid_to": START + 10 * DAY}
    return row(START, **default | columns)


def line(user: str, basket: str | None, at: int, product: str = "p1", **columns) -> dict:
    default = {"event_type": "purchase", "quantity": 1, "amount": 100}
    name = f"{user}-{basket}-{product}-{at}-{columns.pop('number', 0)}"
    ids = {"event_id": name, "user_id": user, "basket_id": basket, "product_id": product}
    return row(at, **ids | default | columns)


def found(home, *events: dict, decisions=(), exposures=None, coupons=None, products=()):
    """The requests of a small shop, in which u1 is exposed to campaign a from START on."""
    log = {
        "exposures": [exposure("u1", "a", START)] if exposures is None else exposures,
        "coupons": [coupon("k1")] if coupons is None else coupons,
        "products": [row(START, product_id="p1", department="FOOD"), *products],
        "events": list(events),
    }
    land(home, complete(log))
    if decisions:
        write_decisions(home / "decisions", decisions)
    lake = Lake(home)
    return requests(lake, lake.state()).to_pylist()


def asked(number: int, at: int, placement: str = "home", user: str = "u1", **columns):
    values = {"event_timestamp": at, "placement": placement, "user_id": user} | columns
    return replace(decision(number), **values)


def times(rows) -> list[tuple[str, bool, bool]]:
    return [(one["request_id"], one["home"], one["checkout"]) for one in rows]


def test_basket_is_a_request_of_both_rankers_with_its_cart(tmp_path):
    at = START + DAY
    events = [line("u1", "b1", at + 1, "p2", amount=250), line("u1", "b1", at, quantity=2)]
    (one,) = found(tmp_path, *events)
    assert one["request_id"] == "u1:b1" and one["basket_id"] == "b1"
    assert one["event_timestamp"].timestamp() * 1e6 == at and one["placement"] is None
    assert one["home"] and one["checkout"]
    assert one["cart_product_ids"] == ["p1", "p2"]
    assert (one["cart_quantities"], one["cart_unit_prices"]) == ([2.0, 1.0], [50.0, 250.0])


def test_money_of_a_line_is_what_a_customer_without_the_coupon_would_pay(tmp_path):
    """A retailer's match lowers the amount; the coupon's own discount does not."""
    discounts = {"coupon_match_discount": 30, "coupon_discount": 70, "retail_discount": 5}
    (one,) = found(tmp_path, line("u1", "b1", START + DAY, amount=471, quantity=3, **discounts))
    [quantity], [price] = one["cart_quantities"], one["cart_unit_prices"]
    assert quantity * price == 501


def test_lines_without_units_and_scanned_coupons_are_not_in_the_cart(tmp_path):
    at = START + DAY
    paper = row(START, product_id="paper", department="COUPON")
    events = [
        line("u1", "b1", at, "gift", quantity=0, amount=0),
        line("u1", "b1", at, "paper", amount=0),
        line("u1", "b1", at, "unknown", quantity=None),
        line("u1", "b1", at, None),
    ]
    (one,) = found(tmp_path, *events, products=[paper])
    assert one["cart_product_ids"] == ["unknown"] and one["cart_quantities"] == [1.0]
    assert one["cart_unit_prices"] == [100.0]


def test_basket_with_nothing_in_its_cart_is_still_a_visit(tmp_path):
    (one,) = found(tmp_path, line("u1", "b1", START + DAY, quantity=0))
    assert one["cart_product_ids"] == one["cart_quantities"] == one["cart_unit_prices"] == []


def test_lines_of_one_product_are_summed(tmp_path):
    events = [line("u1", "b1", START + DAY, number=n, amount=100 + n) for n in range(2)]
    (one,) = found(tmp_path, *events)
    assert (one["cart_quantities"], one["cart_unit_prices"]) == ([2.0], [100.5])


def test_event_without_a_basket_is_a_basket_of_its_own(tmp_path):
    events = [line("u1", None, START + day * DAY) for day in (1, 2)]
    assert [one["basket_id"] for one in found(tmp_path, *events)] == [
        one["event_id"] for one in events
    ]


def test_corrected_line_is_in_the_cart_as_it_was_learned_last(tmp_path):
    bought = line("u1", "b1", START + DAY, quantity=3, amount=300)
    kept = bought | {"quantity": 1, "amount": 100, "created_timestamp": START + 2 * DAY}
    (one,) = found(tmp_path, bought, kept)
    assert (one["cart_quantities"], one["cart_unit_prices"]) == ([1.0], [100.0])


@pytest.mark.parametrize(
    "visit_at, known_at, is_request",
    [
        (START + DAY, START + DAY - 1, True),
        (START + DAY, START + DAY, False),
        (START + 10 * DAY - 1, START, True),
        (START + 10 * DAY, START, False),
        (START, START - DAY, True),
        (START - 1, START - DAY, False),
    ],
)
def test_visit_counts_while_a_campaign_is_open_to_the_user(
    tmp_path, visit_at, known_at, is_request
):
    exposures = [exposure("u1", "a", START - DAY, known_at)]
    rows = found(tmp_path, line("u1", "b1", visit_at), exposures=exposures)
    assert bool(rows) == is_request


def test_open_audience_needs_no_exposure(tmp_path):
    coupons = [coupon("k1"), coupon("k2", "b", "open", valid_from=START + 5 * DAY)]
    events = [line("u9", f"b{day}", START + day * DAY) for day in (4, 5, 10)]
    rows = found(tmp_path, *events, coupons=coupons)
    assert [one["request_id"] for one in rows] == ["u9:b5"]


def test_logged_request_replaces_the_basket_of_its_ranker_within_24_hours(tmp_path):
    at = START + 2 * DAY
    decisions = [asked(1, at - DAY, "member"), asked(2, at - HOUR, "cart")]
    rows = found(tmp_path, line("u1", "b1", at), decisions=decisions)
    assert times(rows) == [("request-1", True, False), ("request-2", False, True)]
    assert [one["placement"] for one in rows] == ["member", "cart"]
    assert [one["basket_id"] for one in rows] == ["b1", "b1"]
    assert rows[1]["cart_product_ids"] == ["milk"] and rows[1]["cart_unit_prices"] == [250.5]


def test_basket_stays_a_request_of_the_ranker_that_the_shop_did_not_ask(tmp_path):
    at = START + 2 * DAY
    rows = found(tmp_path, line("u1", "b1", at), decisions=[asked(1, at)])
    assert times(rows) == [("request-1", True, False), ("u1:b1", False, True)]


def test_logged_request_more_than_24_hours_before_a_basket_is_a_visit_of_its_own(tmp_path):
    at = START + 2 * DAY
    rows = found(tmp_path, line("u1", "b1", at), decisions=[asked(1, at - DAY - 1)])
    assert times(rows) == [("request-1", True, False), ("u1:b1", True, True)]
    assert [one["basket_id"] for one in rows] == [None, "b1"]


def test_of_several_logged_requests_before_one_basket_the_last_counts(tmp_path):
    at = START + 2 * DAY
    decisions = [asked(n, at - 3 * HOUR + n * HOUR) for n in range(3)]
    rows = found(tmp_path, line("u1", "b1", at), decisions=decisions)
    assert times(rows) == [("request-2", True, False), ("u1:b1", False, True)]


def test_logged_request_leads_to_the_next_basket_alone(tmp_path):
    at = START + 2 * DAY
    events = [line("u1", "b1", at), line("u1", "b2", at + HOUR)]
    rows = found(tmp_path, *events, decisions=[asked(1, at - HOUR)])
    assert times(rows)[2:] == [("u1:b2", True, True)]


def test_shadow_decisions_and_decisions_at_the_watermark_are_no_requests(tmp_path):
    at = START + 2 * DAY
    decisions = [
        replace(asked(1, at), role=SHADOW),
        asked(2, WATERMARK),
        asked(3, at, user="u9"),
    ]
    coupons = [coupon("k1", valid_to=WATERMARK + DAY)]
    rows = found(tmp_path, line("u1", "b1", at), decisions=decisions, coupons=coupons)
    assert times(rows) == [("u1:b1", True, True)]


def test_decision_files_from_before_carts_were_logged_are_left_out(tmp_path):
    import pyarrow.parquet as pq

    at = START + 2 * DAY
    path = write_decisions(tmp_path / "decisions", [asked(1, at)])
    table = pq.read_table(path)
    without = [name for name in table.column_names if not name.startswith("cart_")]
    pq.write_table(table.select(without), path)
    assert times(found(tmp_path, line("u1", "b1", at))) == [("u1:b1", True, True)]
    with_carts = [asked(2, at)]
    rows = found(tmp_path, line("u1", "b1", at), decisions=with_carts)
    assert times(rows) == [("request-2", True, False), ("u1:b1", False, True)]


@pytest.mark.parametrize("seed", range(6))
def test_no_visit_counts_twice(tmp_path, seed):
    """Against a slow implementation, on random baskets and requests at whole hours."""
    draw = random.Random(seed)
    users = [f"u{number}" for number in range(3)]
    baskets = {
        f"b{number}": (draw.choice(users), START + draw.randrange(1, 100) * HOUR)
        for number in range(15)
    }
    decisions = [
        asked(
            number,
            START + draw.randrange(1, 100) * HOUR,
            draw.choice(["home", "member", "cart", "checkout"]),
            draw.choice(users),
        )
        for number in range(15)
    ]
    rows = found(
        tmp_path,
        *(line(user, basket, at) for basket, (user, at) in baskets.items()),
        decisions=decisions,
        exposures=[exposure(user, "a", START) for user in users],
    )
    assert sorted(times(rows)) == slow(baskets, decisions)
    for ranker in ("home", "checkout"):
        led_to = [one["basket_id"] for one in rows if one[ranker] and one["basket_id"]]
        assert sorted(led_to) == sorted(baskets)


def slow(baskets, decisions) -> list[tuple[str, bool, bool]]:
    kept, replaced = {}, set()
    for one in sorted(decisions, key=lambda one: (one.event_timestamp, one.request_id)):
        ahead = [
            (at, name)
            for name, (user, at) in baskets.items()
            if user == one.user_id and one.event_timestamp <= at
        ]
        at, basket = min(ahead, default=(None, None))
        if at is None or at > one.event_timestamp + DAY:
            basket = one.request_id
        kept[one.placement in AT_CHECKOUT, basket] = one.request_id
    out = []
    for (at_checkout, basket), name in kept.items():
        out.append((name, not at_checkout, at_checkout))
        replaced.add((at_checkout, basket))
    for basket, (user, _) in baskets.items():
        learns = [(at_checkout, basket) not in replaced for at_checkout in (False, True)]
        if any(learns):
            out.append((f"{user}:{basket}", *learns))
    return sorted(out)
