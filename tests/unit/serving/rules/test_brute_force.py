"""Rules and quotes against a brute-force oracle: one coupon at a time, exact fractions."""

from collections import Counter
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.contract import DISCOUNT_TYPES, MIN_SPEND_BASES
from feature_repo.instants import DAY, microseconds
from feature_repo.names import PLACEMENTS
from feature_repo.transforms.request.cart import CartLine
from serving.candidates.cart import cart_of
from serving.candidates.discounts import coverage
from serving.candidates.quotes import quotes
from serving.ledger.ledger import Usage
from serving.rules.context import RuleContext
from serving.rules.filter import filter_candidates
from tests.support.serving_fakes import WATERMARK, FakeLedger, coupon, index_of

NOW = microseconds(WATERMARK)
PRODUCTS, CAMPAIGNS = ("p1", "p2", "p3"), ("1", "2")
NOTHING = st.none()
instants = st.sampled_from((NOW, NOW - 1, NOW - DAY, NOW - DAY + 1, NOW - 2 * DAY, NOW - 3 * DAY))
small = st.integers(0, 3)
UNKNOWN = ("coupon_unknown", "scope_unknown", "terms_unknown")
coupons = st.fixed_dictionaries(
    {
        "campaign_id": st.sampled_from(CAMPAIGNS),
        "scope_product_ids": st.lists(st.sampled_from(PRODUCTS), unique=True),
        "discount_type": NOTHING | st.sampled_from(DISCOUNT_TYPES),
        "discount_value": NOTHING | st.integers(0, 100),
        "min_spend": NOTHING | st.integers(0, 3_000),
        "per_user_limit": NOTHING | small,
        "covers_whole_cart": NOTHING | st.booleans(),
        **dict.fromkeys(UNKNOWN, st.sampled_from((None, False, False, False, True))),
        "valid_from_timestamp": st.sampled_from((NOW - DAY, NOW, NOW + 1)),
        "valid_to_timestamp": st.sampled_from((NOW, NOW + 1, NOW + DAY)),
    }
)
budgets = NOTHING | st.integers(0, 300)
terms_of_coupon = st.fixed_dictionaries(
    {
        "placements": NOTHING | st.sampled_from(("home", "home cart", "checkout")),
        "total_limit": NOTHING | small,
        "period_limit": NOTHING | small,
        "period_days": st.integers(1, 3),
        "campaign_budget": budgets,
        "user_budget": budgets,
        "max_discount": NOTHING | st.integers(0, 100),
        "impression_limit": NOTHING | small,
        "impression_days": st.integers(1, 3),
        "min_margin": NOTHING | st.integers(0, 100),
        "gift_product_id": NOTHING | st.sampled_from(PRODUCTS),
        "min_spend_basis": NOTHING | st.sampled_from(MIN_SPEND_BASES),
    }
)
terms_of_product = st.fixed_dictionaries(
    {"stock": NOTHING | st.integers(0, 1), "unit_cost": NOTHING | st.integers(0, 900)}
)
carts = st.lists(
    st.tuples(
        st.sampled_from((*PRODUCTS, "elsewhere")),
        st.sampled_from((1.0, 2.0, 0.5, 0.001)),
        st.just(0) | st.integers(0, 1_000),
    ),
    max_size=4,
)


@st.composite
def shops(draw):
    """Coupons, terms of coupons and products, a cart, usage, online counts, and a placement."""
    every = [
        coupon(f"c{number}", **one)
        for number, one in enumerate(draw(st.lists(coupons, min_size=1, max_size=5)))
    ]
    ids = [one["coupon_id"] for one in every]
    terms = {one: draw(terms_of_coupon) for one in ids}
    products = {one: draw(terms_of_product) for one in PRODUCTS}
    held = {
        one["coupon_id"]: (one["campaign_id"], draw(small)) for one in every if draw(st.booleans())
    }
    reserved = {name: sum(a for k, a in held.values() if k == name) for name in CAMPAIGNS}
    happened = st.lists(st.tuples(st.sampled_from(ids), instants), max_size=4)
    usage = Usage(
        uses={one: draw(small) + (one in held) for one in ids},
        spent={name: draw(st.integers(0, 200)) + reserved[name] for name in CAMPAIGNS},
        spent_on_user={name: draw(st.integers(0, 200)) + reserved[name] for name in CAMPAIGNS},
        redeemed=draw(happened),
        seen=draw(happened),
        held=held,
    )
    online = {one: draw(small) for one in ids if draw(st.booleans())}
    return every, terms, products, draw(carts), usage, online, draw(st.sampled_from(PLACEMENTS))


def rounded(exact: Fraction) -> int:
    return floor(exact + Fraction(1, 2))


class Oracle:
    """The rules and the quote of one coupon of a shop, without arrays."""

    def __init__(self, shop, one: dict):
        self.every, self.terms, self.products, cart, self.usage, self.online, self.place = shop
        self.one, self.id, self.mine = one, one["coupon_id"], self.terms[one["coupon_id"]]
        lines = [(name, q, rounded(Fraction(q) * price)) for name, q, price in cart]
        scope = one["scope_product_ids"]
        self.whole_cart = not scope and bool(one["covers_whole_cart"])
        self.covered = [line for line in lines if self.whole_cart or line[0] in scope]
        self.total = sum(amount for *_, amount in lines)
        self.amount = sum(amount for *_, amount in self.covered)
        self.is_binding = bool(cart) and self.place in ("cart", "checkout")
        spend = self.amount if self.mine["min_spend_basis"] == "covered" else self.total
        self.missing = max((one["min_spend"] or 0) - spend, 0)
        self.kind, self.value = one["discount_type"], one["discount_value"]
        self.is_stated = self.kind is not None and self.value is not None

    def capped(self, amount: int) -> int:
        most = self.mine["max_discount"]
        return amount if most is None or self.kind == "gift" else min(amount, most)

    @property
    def discount(self) -> int:
        if not (self.is_stated and self.covered) or self.missing:
            return 0
        if self.kind == "gift":
            return self.value
        if self.kind == "percent":
            return self.capped(rounded(Fraction(self.amount * self.value, 100)))
        return self.capped(min(self.value, self.amount))

    @property
    def cost(self) -> int:
        if not self.is_stated:
            return 0
        if self.kind == "percent":
            most = self.mine["max_discount"]
            return self.discount if most is None else most
        return self.capped(self.value)

    def is_missing(self, product: str) -> bool:
        return self.products[product]["stock"] == 0

    def is_out_of_stock(self) -> bool:
        scope, gift = self.one["scope_product_ids"], self.mine["gift_product_id"]
        gone = not self.whole_cart and all(self.is_missing(one) for one in scope)
        return gone or (gift is not None and self.is_missing(gift))

    def is_below_margin(self) -> bool:
        costs = [self.products.get(name, {}).get("unit_cost") for name, *_ in self.covered]
        if self.mine["min_margin"] is None or not self.amount:
            return False
        if None in costs:
            return True
        spent = sum(
            rounded(Fraction(line[1]) * cost)
            for line, cost in zip(self.covered, costs, strict=True)
        )
        paid = self.amount - self.discount
        return 100 * (paid - spent) < self.mine["min_margin"] * paid

    def happened(self, pairs, days: int | None = None) -> int:
        times = [at for name, at in pairs if name == self.id]
        return sum(days is None or NOW - days * DAY < at for at in times)

    def reaches(self, limit: str, count: int, terms=None) -> bool:
        most = (terms or self.mine)[limit]
        return most is not None and count >= most

    def is_over(self, budget: str, spent: dict) -> bool:
        campaign, (_, own) = self.one["campaign_id"], self.usage.held.get(self.id, ("", 0))
        stated = [
            self.terms[other["coupon_id"]][budget]
            for other in self.every
            if other["campaign_id"] == campaign
        ]
        stated = [one for one in stated if one is not None]
        return bool(stated) and spent[campaign] - own + max(self.cost, 1) > min(stated)

    def removed_by(self) -> str | None:
        """The first rule that removes the coupon, in the order of the rules."""
        one, mine, usage = self.one, self.mine, self.usage
        has_scope = self.whole_cart or one["scope_product_ids"]
        used = max(self.happened(usage.redeemed), self.online.get(self.id, 0))
        in_period = self.happened(usage.redeemed, mine["period_days"])
        seen = self.happened(usage.seen, mine["impression_days"])
        others = usage.uses[self.id] - (self.id in usage.held)
        rules = {
            "expired": one["valid_to_timestamp"] <= NOW,
            "not_yet_valid": one["valid_from_timestamp"] > NOW,
            "coupon_unknown": one["coupon_unknown"],
            "scope_unknown": one["scope_unknown"] or not has_scope,
            "terms_unknown": one["terms_unknown"],
            "redeemed": one["per_user_limit"] is None and self.online.get(self.id, 0) > 0,
            "max_discount": mine["max_discount"] == 0 and self.kind != "gift",
            "placement": self.place not in (mine["placements"] or " ".join(PLACEMENTS)).split(),
            "stock": self.is_out_of_stock(),
            "min_spend": self.is_binding and self.missing > 0,
            "product_scope": self.is_binding and not self.covered,
            "min_margin": self.is_below_margin(),
            "usage_cap": self.reaches("per_user_limit", used, one),
            "usage_cap_period": self.reaches("period_limit", in_period),
            "usage_cap_total": self.reaches("total_limit", others),
            "campaign_budget": self.is_over("campaign_budget", usage.spent),
            "user_budget": self.is_over("user_budget", usage.spent_on_user),
            "frequency_cap": self.reaches("impression_limit", seen),
        }
        return next((name for name, holds in rules.items() if holds), None)


# A thread that another test left, such as an exporter's, may draw random numbers meanwhile.
@pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")
@given(shops())
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
def test_rules_and_quotes_of_any_shop_are_those_of_the_oracle(shop):
    every, terms, products, cart, usage, online, place = shop
    index = index_of(*every, terms=terms, products=products)
    cover = coverage(index.terms.discounts, cart_of([CartLine(*line) for line in cart]))
    context = RuleContext(index, NOW, online, cover, "900", place)
    rows, removed = filter_candidates(context, np.arange(len(index)), FakeLedger(usage))
    oracles = [Oracle(shop, one) for one in every]
    reasons = [one.removed_by() for one in oracles]
    kept = [one.id for one, reason in zip(oracles, reasons, strict=True) if reason is None]
    assert list(index.coupon_id[rows]) == kept
    assert removed == dict(Counter(reason for reason in reasons if reason))
    for one, quote in zip(oracles, quotes(np.arange(len(index)), cover), strict=True):
        assert (quote is not None) == one.is_stated
        if quote is not None:
            given_away = quote.amount_off + quote.cashback + quote.gift_value
            assert (quote.type, given_away) == (one.kind, one.discount)
            assert (quote.covered_amount, quote.missing_spend) == (one.amount, one.missing)
            assert quote.missing_product == (not one.covered)
