import numpy as np
import pytest
from serving_fakes import WATERMARK, FakeLedger, coupon, index_of

from serving.clock import microseconds
from serving.ledger import Claim
from serving.quotes import NO_LIMIT, cart_of, coverage
from serving.rules import Situation
from serving.selection import best_of_groups, select

NOW = microseconds(WATERMARK)
LIMITED = {"total_limit": 5}


def chosen(index, k: int = 10, ledger: FakeLedger | None = None):
    """Coupons shown, best first, where they are ranked as they stand in the index."""
    situation = Situation(index, NOW, {}, coverage(index.terms.offers, cart_of(())), "900")
    rows = np.arange(len(index))
    places, removed = select(situation, rows, k, ledger or FakeLedger())
    return list(index.coupon_id[rows[places]]), removed


def shelf(names: str, **terms):
    return index_of(*(coupon(one, "1") for one in names), terms=terms)


def test_only_the_best_of_a_group_is_shown():
    x, y = {"exclusivity_group": "x"}, {"exclusivity_group": "y"}
    index = shelf("abcdef", b=x, c=y, d=x, e=y)
    assert chosen(index) == (["a", "b", "c", "f"], {"exclusivity": 2})
    assert chosen(index, k=2) == (["a", "b"], {"exclusivity": 2})


def test_groups_keep_their_first_and_whatever_has_none():
    groups = np.array([-1, 3, 3, -1, 0, 3, 0])
    assert best_of_groups(groups).tolist() == [True, True, False, True, True, False, False]


def test_what_cannot_be_reserved_makes_room_for_the_next_best():
    index = shelf("abcd", a=LIMITED, b=LIMITED, c=LIMITED)
    ledger = FakeLedger(refused={"a": "usage_cap_total", "c": "campaign_budget"})
    shown, removed = chosen(index, 2, ledger)
    assert shown == ["b", "d"]
    assert removed == {"usage_cap_total": 1, "campaign_budget": 1}


def test_only_what_is_shown_is_claimed():
    ledger = FakeLedger()
    assert chosen(shelf("abc", a=LIMITED, c=LIMITED), 2, ledger)[0] == ["a", "b"]
    assert [[claim.coupon_id for claim in claims] for claims in ledger.claims] == [["a"]]


def test_claim_carries_every_limit_and_what_the_coupon_costs():
    terms = {"campaign_budget": 900, "impression_limit": 3, "impression_days": 1}
    one = coupon("a", "1", discount_type="amount_off", discount_value=300)
    ledger = FakeLedger()
    chosen(index_of(one, terms={"a": terms}), ledger=ledger)
    assert ledger.claims == [
        [
            Claim(
                coupon_id="a",
                campaign_id="1",
                cost=300,
                total_limit=NO_LIMIT,
                campaign_budget=900,
                user_budget=NO_LIMIT,
                reserved=True,
                impression_period=86_400_000_000,
            )
        ]
    ]


def test_coupon_with_a_frequency_cap_alone_is_not_reserved():
    ledger = FakeLedger()
    chosen(shelf("a", a={"impression_limit": 3, "impression_days": 1}), ledger=ledger)
    assert [claim.reserved for claim in ledger.claims[0]] == [False]


@pytest.mark.parametrize("terms", [{}, {"min_margin": 3, "placements": "home"}])
def test_ledger_is_not_asked_where_nothing_is_limited(terms):
    assert chosen(shelf("abc", a=terms), 2, FakeLedger(broken=True)) == (["a", "b"], {})


def test_while_the_ledger_is_down_what_is_limited_makes_room():
    index = shelf("abcd", a=LIMITED, c=LIMITED)
    shown, removed = chosen(index, 2, FakeLedger(broken=True))
    assert (shown, removed) == (["b", "d"], {"limits_unknown": 2})
