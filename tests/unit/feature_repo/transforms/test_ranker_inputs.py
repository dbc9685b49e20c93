"""The ranker inputs, compared with plain loops over users, coupons and entries."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.instants import DAY
from feature_repo.names import RANKERS
from feature_repo.transforms.request.campaign import STORED
from feature_repo.transforms.request.cart import CartLine
from feature_repo.transforms.request.ranker_inputs import (
    CART_INPUTS,
    COUPON_NUMBERS,
    DERIVED,
    INPUTS_OF,
    RANKER_INPUTS,
    USER_NUMBERS,
    coupons_from_columns,
    ranker_inputs,
    static_inputs,
)

# Drawing a feature row is slow on a busy machine, whatever the speed of the code.
RANDOM = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

NOW = 1_700_000_000_000_000
IDS = {"product": ("p1", "p2", "p3", "p4"), "category": ("c1", "c2"), "brand": ("b1", "b2")}
COUPON_IDS = ("k0", "k1", "k2", "k9")
CAMPAIGN_IDS = ("A", "B")
ATTRIBUTES = {"p1": ("c1", "b1"), "p2": ("c2", None), "p3": (None, "b2")}
SCOPES = {"product": "products", "category": "categories", "brand": "brands"}

numbers = st.one_of(st.none(), st.integers(0, 10_000))
instants = st.one_of(st.none(), st.integers(NOW - 200 * DAY, NOW))


@st.composite
def entries(draw, kind: str, part: str):
    """Draws the six lists of one user, kind and part; all null without an entry."""
    ids = draw(st.lists(st.sampled_from(IDS[kind]), unique=True, max_size=4))
    if not ids:
        return [None] * 6
    least = 1 if part == "history" else -2
    size = {"min_size": len(ids), "max_size": len(ids)}
    hundredths = st.integers(1 if part == "history" else -100, 400)
    weights = hundredths.map(lambda value: value / 100)
    lasts = st.integers(NOW - 300 * DAY, NOW - 1)
    lasts = lasts if part == "history" else st.one_of(st.just(0), lasts)
    return [
        ids,
        draw(st.lists(st.integers(least, 5), **size)),
        draw(st.lists(weights, **size)),
        draw(st.lists(lasts, **size)),
        draw(st.lists(st.integers(0, 3), **size)),
        draw(st.lists(st.integers(0 if part == "history" else -900, 900), **size)),
    ]


@st.composite
def own_counts(draw, name: str, ids: tuple[str, ...], fields: tuple[str, ...]):
    """Draws a sorted list of ids and counts for each; all null without an id."""
    found = sorted(draw(st.lists(st.sampled_from(ids), unique=True)))
    counts = st.lists(st.integers(0, 9), min_size=len(found), max_size=len(found))
    out = {f"{name}_ids": found or None}
    return out | {f"{name}_{field}": draw(counts) or None for field in fields}


@st.composite
def users(draw):
    """Draws one user's features as Feast returns them."""
    row = {name: draw(numbers) for name in USER_NUMBERS}
    for name in ("last_purchase", "last_coupon_purchase", "last_redemption"):
        row[f"{name}_timestamp"] = draw(instants)
    row["spend_decayed_sum_30d"] = draw(st.one_of(st.none(), st.integers(0, 10**6)))
    row["spend_decayed_reference_timestamp"] = draw(instants)
    row |= draw(own_counts("redeemed_coupon", COUPON_IDS, ("counts", "counts_7d")))
    row |= draw(own_counts("redeemed_campaign", CAMPAIGN_IDS, ("counts",)))
    row |= draw(own_counts("basket_coupon", COUPON_IDS, ("counts",)))
    for part in ("history", "recent"):
        row[f"{part}_reference_timestamp"] = NOW - draw(st.integers(0, 100)) * DAY
        for kind in IDS:
            fields = ("ids", "counts", "decayed_90d", "last_timestamps", "coupon_counts", "amounts")
            values = draw(entries(kind, part))
            row |= {f"{part}_{kind}_{f}": v for f, v in zip(fields, values, strict=True)}
    return row


@st.composite
def coupon(draw):
    row = {name: draw(numbers) for name in COUPON_NUMBERS}
    row["campaign_type"] = draw(st.sampled_from((None, "Type A", "Type B", "Type C")))
    row["campaign_id"] = draw(st.sampled_from((None, *CAMPAIGN_IDS)))
    row["valid_from_timestamp"] = draw(instants)
    row["valid_to_timestamp"] = draw(instants)
    row |= {name: draw(numbers) for name in STORED}
    for kind, ids in IDS.items():
        scope = st.lists(st.sampled_from(ids), max_size=5)  # a repeated id counts once
        row[f"scope_{kind}_ids"] = draw(st.one_of(st.none(), scope))
    return row


carts = st.lists(
    st.builds(
        CartLine,
        st.sampled_from((*IDS["product"], "elsewhere")),
        st.integers(0, 5),
        st.integers(0, 999),
    ),
    max_size=4,
)
groups = st.integers(1, 4).flatmap(
    lambda n: st.tuples(
        st.lists(users(), min_size=n, max_size=n),
        st.lists(coupon(), min_size=1, max_size=4),
        st.lists(carts, min_size=n, max_size=n),
        st.lists(st.integers(NOW, NOW + 40 * DAY), min_size=n, max_size=n),
    )
)


def columns(rows: list[dict]) -> dict[str, list]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def coupons_of(rows: list[dict]):
    return coupons_from_columns(columns(rows) | {"coupon_id": [f"k{i}" for i in range(len(rows))]})


def number(value) -> float:
    return math.nan if value is None else float(value)


def days(earlier, later) -> float:
    return (number(later) - number(earlier)) / DAY


def ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 and not math.isnan(part) else 0.0


def merged(user: dict, kind: str, at: int) -> dict[str, list[tuple]]:
    """Lists count, weight decayed to ``at``, last purchase, coupon uses and amount by id."""
    out: dict[str, list[tuple]] = {}
    for part in ("history", "recent"):
        name = f"{part}_{kind}"
        for place, one in enumerate(user[f"{name}_ids"] or ()):
            age = (at - user[f"{part}_reference_timestamp"]) / DAY
            out.setdefault(one, []).append(
                (
                    user[f"{name}_counts"][place],
                    user[f"{name}_decayed_90d"][place] * 2 ** (-age / 90),
                    user[f"{name}_last_timestamps"][place],
                    user[f"{name}_coupon_counts"][place],
                    user[f"{name}_amounts"][place],
                )
            )
    return out


def affinity(user: dict, offer: dict, at: int) -> dict[str, float]:
    out: dict[str, float] = {}
    products = merged(user, "product", at).values()
    weights = [entry[1] for found in products for entry in found]
    total = sum(weights) if sum(weights) > 1e-9 * sum(map(abs, weights)) else 0.0
    for kind in IDS:
        scope = set(offer[f"scope_{kind}_ids"] or ())
        held = {one: found for one, found in merged(user, kind, at).items() if one in scope}
        hits = [entry for found in held.values() for entry in found]
        prefix = "own" if kind == "product" else kind
        weight = sum(hit[1] for hit in hits)
        out[f"{prefix}_purchase_count"] = sum(hit[0] for hit in hits)
        out[f"{prefix}_spend"] = sum(hit[4] for hit in hits)
        out[f"{prefix}_purchase_decayed_90d"] = weight
        out[f"{prefix}_purchase_share"] = ratio(weight, total)
        if kind == "product":
            # The entry since midnight comes last and has the last purchase of all.
            lasts = [found[-1][2] for found in held.values() if found[-1][2] > 0]
            counts = [sum(entry[0] for entry in found) for found in held.values()]
            out["own_product_count"] = sum(count > 0 for count in counts)
            out["own_coupon_use_count"] = sum(hit[3] for hit in hits)
            out["days_since_own_purchase"] = days(max(lasts, default=None), at)
    return out


def own(user: dict, name: str, field: str, one: str | None) -> int:
    """Returns the user's number for an id; 0 without one."""
    ids = user[f"{name}_ids"] or []
    return user[f"{name}_{field}"][ids.index(one)] if one in ids else 0


def campaign(user: dict, offer: dict, coupon_id: str) -> dict[str, float]:
    stored = {name: offer[name] or 0 for name in STORED}
    others = stored["coupon_redemption_count_all"] - own(
        user, "redeemed_coupon", "counts", coupon_id
    )
    recent = stored["coupon_redemption_count_7d"] - own(
        user, "redeemed_coupon", "counts_7d", coupon_id
    )
    own_baskets = own(user, "basket_coupon", "counts", coupon_id)
    rate = (stored["campaign_redemption_count_all"] + 1) / (
        stored["campaign_covered_basket_count"] + 200
    )
    baskets = max(stored["covered_basket_count"] - own_baskets, 0)
    return {
        "others_redemption_count_all": max(others, 0),
        "others_redemption_count_7d": max(recent, 0),
        "others_covered_basket_count": baskets,
        "percov": (max(others, 0) + 5 * rate) / (baskets + 5),
        "campaign_redemption_rate": rate,
        "own_covered_basket_count": own_baskets,
        "own_campaign_redemption_count": own(
            user, "redeemed_campaign", "counts", offer["campaign_id"]
        ),
    }


def in_cart(offer: dict, cart: list[CartLine]) -> dict[str, float]:
    covered = [line for line in cart if line.product_id in (offer["scope_product_ids"] or ())]

    def amount(lines: list[CartLine]) -> float:
        return sum(line.quantity * line.unit_price for line in lines)

    def alike(place: int, kind: str) -> list[CartLine]:
        scope = offer[f"scope_{kind}_ids"] or ()
        return [x for x in cart if ATTRIBUTES.get(x.product_id, (None, None))[place] in scope]

    return {
        "cart_covered_quantity": sum(line.quantity for line in covered),
        "cart_covered_amount": amount(covered),
        "cart_covered_line_count": len(covered),
        "cart_category_amount": amount(alike(0, "category")),
        "cart_brand_amount": amount(alike(1, "brand")),
        "cart_amount": amount(cart),
    }


def expected(
    user: dict, offer: dict, coupon_id: str, cart: list[CartLine], at: int
) -> dict[str, float]:
    out = {name: number(user[name]) for name in USER_NUMBERS}
    out |= {name: number(offer[name]) for name in COUPON_NUMBERS}
    for letter in "abc":
        out[f"is_campaign_type_{letter}"] = offer["campaign_type"] == f"Type {letter.upper()}"
    for name in ("purchase", "coupon_purchase", "redemption"):
        out[f"days_since_last_{name}"] = days(user[f"last_{name}_timestamp"], at)
    age = days(user["spend_decayed_reference_timestamp"], at)
    bought, redeemed = out["purchase_count_all"], out["redemption_count_all"]
    return (
        out
        | affinity(user, offer, at)
        | campaign(user, offer, coupon_id)
        | in_cart(offer, cart)
        | {
            "is_new_user": not bought > 0,
            "spend_decayed_30d": number(user["spend_decayed_sum_30d"]) * 2 ** (-age / 30),
            "user_redemption_rate_all": ratio(redeemed, out["exposure_count_all"]),
            "code_redemption_rate_all": ratio(
                out["code_redemption_count_all"], out["code_exposure_count_all"]
            ),
            "days_left": days(at, offer["valid_to_timestamp"]),
            "days_since_start": days(offer["valid_from_timestamp"], at),
        }
    )


@RANDOM
@given(groups)
def test_every_input_equals_the_plain_loop(group):
    rows, offers, baskets, as_of = group
    coupons, every = coupons_of(offers), np.arange(len(offers))
    found = ranker_inputs(
        columns(rows), coupons, every, np.array(as_of), baskets, attributes=ATTRIBUTES
    )
    for u, user in enumerate(rows):
        for c, offer in enumerate(offers):
            wanted = expected(user, offer, f"k{c}", baskets[u], as_of[u])
            assert set(wanted) == set(RANKER_INPUTS)
            want = np.array([wanted[name] for name in RANKER_INPUTS], dtype=np.float64)
            np.testing.assert_allclose(found[u, c], want, rtol=1e-5, atol=1e-4)


@RANDOM
@given(groups)
def test_batch_of_users_equals_one_user_at_a_time(group):
    rows, offers, baskets, as_of = group
    coupons, every = coupons_of(offers), np.arange(len(offers))
    together = ranker_inputs(columns(rows), coupons, every, np.array(as_of), baskets)
    for u, user in enumerate(rows):
        alone = ranker_inputs(
            columns([user]), coupons, every, np.array(as_of[u : u + 1]), [baskets[u]]
        )
        np.testing.assert_array_equal(together[u], alone[0])


@RANDOM
@given(groups, st.data())
def test_inputs_of_a_candidate_do_not_depend_on_the_other_candidates(group, data):
    rows, offers, baskets, as_of = group
    coupons, every = coupons_of(offers), np.arange(len(offers))
    chosen = np.array(data.draw(st.lists(st.sampled_from(list(every)), unique=True)), dtype=int)
    full = ranker_inputs(columns(rows), coupons, every, np.array(as_of), baskets)
    part = ranker_inputs(columns(rows), coupons, chosen, np.array(as_of), baskets)
    np.testing.assert_array_equal(part, full[:, chosen])
    static = static_inputs(columns(rows), coupons, every).take(chosen)
    taken = ranker_inputs(columns(rows), coupons, chosen, np.array(as_of), baskets, static)
    np.testing.assert_array_equal(taken, part)


def test_purchase_returned_today_is_not_an_own_purchase():
    user = dict.fromkeys(USER_NUMBERS, 0) | _nothing()
    user |= _entry("history", 1, 0.5, NOW - 3 * DAY) | _entry("recent", -1, -0.5, 0)
    found = ranker_inputs(columns([user]), coupons_of([_offer()]), np.array([0]), np.array([NOW]))
    values = dict(zip(RANKER_INPUTS, found[0, 0], strict=True))
    assert values["own_purchase_count"] == 0 and values["own_product_count"] == 0
    assert values["own_purchase_decayed_90d"] == 0
    assert math.isnan(values["days_since_own_purchase"])


def test_after_a_return_the_purchase_before_it_is_the_last():
    user = dict.fromkeys(USER_NUMBERS, 0) | _nothing()
    user |= _entry("history", 2, 1.0, NOW - 3 * DAY) | _entry("recent", -1, -0.5, NOW - 9 * DAY)
    found = ranker_inputs(columns([user]), coupons_of([_offer()]), np.array([0]), np.array([NOW]))
    values = dict(zip(RANKER_INPUTS, found[0, 0], strict=True))
    assert values["own_purchase_count"] == 1
    assert values["days_since_own_purchase"] == pytest.approx(9)


def test_every_derived_input_has_a_definition():
    stored = {*USER_NUMBERS, *COUPON_NUMBERS}
    assert set(RANKER_INPUTS) == stored | set(DERIVED)
    assert all(text.endswith(".") for text in DERIVED.values())


def _offer() -> dict:
    """Returns a coupon for the product p1."""
    return dict.fromkeys(COUPON_NUMBERS, 0) | {
        **dict.fromkeys(STORED, 0),
        "campaign_id": None,
        "campaign_type": None,
        "valid_from_timestamp": NOW,
        "valid_to_timestamp": NOW,
        "scope_product_ids": ["p1"],
        "scope_category_ids": None,
        "scope_brand_ids": None,
    }


OWN = ("redeemed_coupon", "redeemed_campaign", "basket_coupon")


def _nothing() -> dict:
    names = ("last_purchase", "last_coupon_purchase", "last_redemption", "spend_decayed_reference")
    out = {f"{name}_timestamp": None for name in names} | {"spend_decayed_sum_30d": None}
    out |= {f"{name}_ids": None for name in OWN} | {f"{name}_counts": None for name in OWN}
    out["redeemed_coupon_counts_7d"] = None
    for part in ("history", "recent"):
        out[f"{part}_reference_timestamp"] = NOW
        for kind in IDS:
            fields = ("ids", "counts", "decayed_90d", "last_timestamps", "coupon_counts", "amounts")
            out |= {f"{part}_{kind}_{field}": None for field in fields}
    return out


def _entry(part: str, count: int, weight: float, last: int) -> dict:
    values = {"ids": "p1", "counts": count, "decayed_90d": weight, "last_timestamps": last}
    values["coupon_counts"] = 0
    values["amounts"] = 0
    return {f"{part}_product_{field}": [value] for field, value in values.items()}


def test_home_ranker_reads_the_first_columns_and_none_of_the_cart():
    assert set(INPUTS_OF) == set(RANKERS)
    home = INPUTS_OF["home"]
    assert home == RANKER_INPUTS[: len(home)]
    assert RANKER_INPUTS[len(home) :] == CART_INPUTS
    assert not [name for name in home if "cart" in name]
    assert INPUTS_OF["checkout"] == RANKER_INPUTS
