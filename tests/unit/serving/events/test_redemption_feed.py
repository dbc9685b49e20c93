from dataclasses import replace

import pytest

from serving.events.redemption_feed import RedemptionFeed, RedemptionSeen, limited_coupons
from serving.ledger.ledger import Redemption, holder_of
from tests.support.serving_fakes import FakeLedger, coupon, index_of

INDEX = index_of(
    coupon("total", "1", discount_type="amount_off", discount_value=300),
    coupon("mine", "2", per_user_limit=1),
    coupon("free", "3"),
    coupon("placed", "4"),
    terms={"total": {"total_limit": 5}, "placed": {"placements": "home"}},
)


def used(name: str, coupon_id: str = "total", amount: int | None = 20) -> RedemptionSeen:
    return RedemptionSeen(name, "900", coupon_id, 7, amount)


class Sources:
    """A lake and an inbox with the given redemptions; notes the queries."""

    def __init__(self, lake=(), inbox=(), mark: int = 1):
        self.lake, self.inbox, self.mark, self.queried = list(lake), list(inbox), mark, []
        self.named = []

    def in_lake(self, coupons, names) -> list[RedemptionSeen]:
        self.queried.append(sorted(coupons))
        self.named = sorted(names)
        return self.lake


def feeder(ledger: FakeLedger, sources: Sources, index=INDEX) -> RedemptionFeed:
    return RedemptionFeed(
        ledger, lambda: index, lambda: sources.mark, sources.in_lake, lambda: sources.inbox
    )


def test_redemptions_count_only_for_coupons_with_a_limit():
    assert limited_coupons(INDEX) == {"total", "mine"}


def test_all_redemptions_are_fed_once_and_again_after_a_change_of_the_lake():
    ledger, sources = FakeLedger(), Sources([used("r1")], [used("e1"), used("e2", "free")])
    feed = feeder(ledger, sources)
    feed.refresh()
    feed.refresh()
    assert sorted(ledger.redeemed) == ["e1", "r1"] and sources.queried == [["mine", "total"]]
    sources.lake, sources.mark = [used("r1"), used("r2")], 2
    feed.refresh()
    assert sorted(ledger.redeemed) == ["e1", "r1", "r2"]


def test_lake_corrects_a_redemption_that_arrived_over_http():
    ledger = FakeLedger()
    feed = feeder(ledger, Sources([used("r1", amount=90)], [used("r1", amount=20)]))
    feed.refresh()
    feed.add([used("r1", amount=20)])
    assert ledger.redeemed == {"r1": Redemption("r1", "900", "total", "1", 7, 90)}


def test_redemption_corrected_to_a_coupon_without_a_limit_no_longer_counts_for_its_old_one():
    ledger, sources = FakeLedger(), Sources([used("r1")], [used("e1"), used("e2", "free")])
    feed = feeder(ledger, sources)
    feed.refresh()
    assert sources.named == ["e1"]
    sources.lake, sources.mark = [used("r1", "free"), used("e1", "nowhere", None)], 2
    feed.refresh()
    assert {name: one.coupon_id for name, one in ledger.redeemed.items()} == {
        "r1": "free",
        "e1": "nowhere",
    }


def test_redemption_of_an_unknown_amount_counts_with_the_highest_value_of_its_coupon():
    ledger = FakeLedger()
    feeder(ledger, Sources()).add([used("r1", amount=None), used("r2", "mine", None)])
    assert {name: one.amount for name, one in ledger.redeemed.items()} == {"r1": 300, "r2": 0}


def test_redemption_that_could_not_be_entered_is_fed_by_the_next_refresh():
    ledger, sources = FakeLedger(), Sources()
    feed = feeder(ledger, sources)
    feed.refresh()
    ledger.broken = True
    feed.add([used("e1")])
    ledger.broken, sources.inbox = False, [used("e1")]
    feed.refresh()
    assert list(ledger.redeemed) == ["e1"]


def test_redemption_that_arrives_before_the_first_index_is_fed_by_the_first_refresh():
    ledger, sources = FakeLedger(), Sources(inbox=[used("e1")])
    early = feeder(ledger, sources, index=None)
    early.add([used("e1")])
    early.refresh()
    assert ledger.redeemed == {}
    feeder(ledger, sources).refresh()
    assert list(ledger.redeemed) == ["e1"]


def test_emptied_ledger_is_fed_again():
    ledger, sources = FakeLedger(), Sources([used("r1")])
    feed = feeder(ledger, sources)
    feed.refresh()
    ledger.empty()
    feed.add([used("e1")])
    sources.inbox = [used("e1")]
    feed.refresh()
    assert sorted(ledger.redeemed) == ["e1", "r1"] and len(sources.queried) == 2


def test_emptied_ledger_is_fed_again_with_redemptions_from_http_alone():
    ledger, sources = FakeLedger(), Sources()
    feed = feeder(ledger, sources)
    feed.refresh()
    feed.add([used("e1")])
    sources.inbox = [used("e1")]
    ledger.empty()
    feed.refresh()
    assert list(ledger.redeemed) == ["e1"]


def test_emptied_ledger_is_fed_again_even_if_another_service_entered_a_redemption_since():
    ledger, sources = FakeLedger(), Sources([used("r1")])
    feed = feeder(ledger, sources)
    feed.refresh()
    ledger.empty()
    feeder(ledger, Sources()).add([used("e1")])
    feed.refresh()
    assert sorted(ledger.redeemed) == ["e1", "r1"]


def test_lake_without_redemptions_is_read_once():
    ledger, sources = FakeLedger(), Sources()
    feed = feeder(ledger, sources)
    feed.refresh()
    feed.refresh()
    assert len(sources.queried) == 1


def test_lake_is_not_read_without_a_coupon_with_a_limit():
    sources = Sources([used("r1")])
    feeder(FakeLedger(broken=True), sources, index_of(coupon("free", "1"))).refresh()
    assert sources.queried == []


PERCENT = {"discount_type": "percent", "discount_value": 20}
BUDGETS = index_of(
    coupon("open", "1", **PERCENT),
    coupon("capped", "2", **PERCENT),
    coupon("free", "3", **PERCENT),
    coupon("fixed", "4", discount_type="amount_off", discount_value=300),
    terms={
        "open": {"campaign_budget": 1_000, "user_budget": 400},
        "capped": {"campaign_budget": 1_000, "max_discount": 150},
        "free": {"total_limit": 5},
        "fixed": {"campaign_budget": 1_000},
    },
)


def test_percentage_without_an_amount_counts_with_the_whole_budget(caplog):
    ledger = FakeLedger()
    names = ("open", "capped", "free", "fixed")
    feed = feeder(ledger, Sources([used(name, name, None) for name in names]), BUDGETS)
    feed.refresh()
    amounts = {name: one.amount for name, one in ledger.redeemed.items()}
    assert amounts == {"open": 1_000, "capped": 150, "free": 0, "fixed": 300}
    assert [name for name in names if feed.needs_amount(name)] == ["open"]
    assert not feed.needs_amount("nowhere")
    (warning,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert "the budget of open counts as spent" in warning.getMessage()


def test_redemptions_taken_back_in_the_lake_or_over_http_are_taken_back():
    ledger, gone = FakeLedger(), replace(used("r2"), is_taken_back=True)
    sources = Sources([used("r1"), gone], [used("e1")])
    feed = RedemptionFeed(
        ledger, lambda: INDEX, lambda: 1, sources.in_lake, lambda: sources.inbox, lambda: ["e1"]
    )
    feed.refresh()
    assert sorted(ledger.redeemed) == ["e1", "r1"]
    assert ledger.taken_back == {"r2": False, "e1": False}
    feed.take_back(["r1"])
    assert sorted(ledger.taken_back) == ["e1", "r1", "r2"]


@pytest.mark.parametrize(("returns", "expected"), [("budget", {"r1": True}), ("nothing", {})])
def test_shop_states_what_a_canceled_redemption_gives_back(returns, expected):
    ledger, sources = FakeLedger(), Sources()
    feed = RedemptionFeed(
        ledger, lambda: INDEX, lambda: 1, sources.in_lake, lambda: (), lambda: ["r1"], returns
    )
    feed.refresh()
    assert ledger.taken_back == expected


def test_redemption_that_could_not_be_taken_back_is_by_the_next_refresh():
    ledger, sources = FakeLedger(broken=True), Sources([used("r1")])
    feed = RedemptionFeed(
        ledger, lambda: INDEX, lambda: 1, sources.in_lake, lambda: (), lambda: ["r1"]
    )
    feed.take_back(["r1"])
    ledger.broken = False
    feed.refresh()
    assert ledger.taken_back == {"r1": False}


def test_redemption_by_a_visitor_ends_the_reservation_of_that_visitor():
    ledger = FakeLedger()
    feeder(ledger, Sources()).add([replace(used("r1"), visitor_id="session-1")])
    assert ledger.redeemed["r1"].holder == holder_of("900", "session-1")
