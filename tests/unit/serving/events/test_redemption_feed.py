from serving.events.redemption_feed import RedemptionFeed, RedemptionSeen, tracked
from serving.ledger.ledger import Redemption
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
    """A lake and an inbox that say what they are told, and how often they were read."""

    def __init__(self, lake=(), inbox=(), mark: int = 1):
        self.lake, self.inbox, self.mark, self.asked = list(lake), list(inbox), mark, []
        self.named = []

    def in_lake(self, coupons, names) -> list[RedemptionSeen]:
        self.asked.append(sorted(coupons))
        self.named = sorted(names)
        return self.lake


def feeder(ledger: FakeLedger, sources: Sources, index=INDEX) -> RedemptionFeed:
    return RedemptionFeed(
        ledger, lambda: index, lambda: sources.mark, sources.in_lake, lambda: sources.inbox
    )


def test_coupons_whose_redemptions_count_are_those_with_a_limit():
    assert tracked(INDEX) == {"total", "mine"}


def test_everything_known_is_fed_once_and_again_when_the_lake_has_changed():
    ledger, sources = FakeLedger(), Sources([used("r1")], [used("e1"), used("e2", "free")])
    feed = feeder(ledger, sources)
    feed.refresh()
    feed.refresh()
    assert sorted(ledger.redeemed) == ["e1", "r1"] and sources.asked == [["mine", "total"]]
    sources.lake, sources.mark = [used("r1"), used("r2")], 2
    feed.refresh()
    assert sorted(ledger.redeemed) == ["e1", "r1", "r2"]


def test_lake_has_the_last_word_on_a_redemption_that_came_over_http():
    ledger = FakeLedger()
    feed = feeder(ledger, Sources([used("r1", amount=90)], [used("r1", amount=20)]))
    feed.refresh()
    feed.take([used("r1", amount=20)])
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


def test_redemption_whose_amount_nobody_knows_counts_with_the_most_it_can_be():
    ledger = FakeLedger()
    feeder(ledger, Sources()).take([used("r1", amount=None), used("r2", "mine", None)])
    assert {name: one.amount for name, one in ledger.redeemed.items()} == {"r1": 300, "r2": 0}


def test_what_could_not_be_entered_comes_with_the_next_refresh():
    ledger, sources = FakeLedger(), Sources()
    feed = feeder(ledger, sources)
    feed.refresh()
    ledger.broken = True
    feed.take([used("e1")])
    ledger.broken, sources.inbox = False, [used("e1")]
    feed.refresh()
    assert list(ledger.redeemed) == ["e1"]


def test_what_arrives_before_there_is_an_index_comes_with_the_first_refresh():
    ledger, sources = FakeLedger(), Sources(inbox=[used("e1")])
    early = feeder(ledger, sources, index=None)
    early.take([used("e1")])
    early.refresh()
    assert ledger.redeemed == {}
    feeder(ledger, sources).refresh()
    assert list(ledger.redeemed) == ["e1"]


def test_ledger_that_lost_what_it_had_is_fed_again():
    ledger, sources = FakeLedger(), Sources([used("r1")])
    feed = feeder(ledger, sources)
    feed.refresh()
    ledger.empty()
    feed.take([used("e1")])
    sources.inbox = [used("e1")]
    feed.refresh()
    assert sorted(ledger.redeemed) == ["e1", "r1"] and len(sources.asked) == 2


def test_ledger_that_lost_what_came_over_http_alone_is_fed_again():
    ledger, sources = FakeLedger(), Sources()
    feed = feeder(ledger, sources)
    feed.refresh()
    feed.take([used("e1")])
    sources.inbox = [used("e1")]
    ledger.empty()
    feed.refresh()
    assert list(ledger.redeemed) == ["e1"]


def test_ledger_that_was_emptied_is_fed_again_though_another_service_entered_something_since():
    ledger, sources = FakeLedger(), Sources([used("r1")])
    feed = feeder(ledger, sources)
    feed.refresh()
    ledger.empty()
    feeder(ledger, Sources()).take([used("e1")])
    feed.refresh()
    assert sorted(ledger.redeemed) == ["e1", "r1"]


def test_lake_without_redemptions_is_not_read_again_and_again():
    ledger, sources = FakeLedger(), Sources()
    feed = feeder(ledger, sources)
    feed.refresh()
    feed.refresh()
    assert len(sources.asked) == 1


def test_lake_is_not_read_where_no_coupon_has_a_limit():
    sources = Sources([used("r1")])
    feeder(FakeLedger(broken=True), sources, index_of(coupon("free", "1"))).refresh()
    assert sources.asked == []
