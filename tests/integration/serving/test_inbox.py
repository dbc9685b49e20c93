import sqlite3
from datetime import UTC, datetime

import pytest

from serving.errors import StorageFailed
from serving.events.inbox import Inbox
from serving.events.redemption_feed import RedemptionSeen

ARRIVED = datetime(2017, 12, 31, tzinfo=UTC)


def event(event_id: str = "e1", **changes) -> dict:
    return {
        "event_id": event_id,
        "event_type": "purchase",
        "user_id": "900",
        "event_timestamp": "2017-12-30T18:12:00Z",
        "product_id": "1095275",
        "quantity": 1,
        "amount": 50,
    } | changes


@pytest.fixture
def inbox(tmp_path) -> Inbox:
    return Inbox(tmp_path / "inbox.db")


def stored(tmp_path) -> list[str]:
    with sqlite3.connect(tmp_path / "inbox.db") as connection:
        return [row[0] for row in connection.execute("select event_id from inbox order by 1")]


def outcome(receipt) -> tuple[int, int, int]:
    return receipt.accepted, receipt.duplicate, receipt.rejected


def test_accepted_events_are_in_the_file(inbox, tmp_path):
    assert outcome(inbox.store([event("a"), event("b")], ARRIVED)) == (2, 0, 0)
    assert stored(tmp_path) == ["a", "b"]


def test_event_sent_twice_is_a_duplicate_within_and_across_batches_and_restarts(inbox, tmp_path):
    assert outcome(inbox.store([event(), event()], ARRIVED)) == (1, 1, 0)
    assert outcome(Inbox(tmp_path / "inbox.db").store([event()], ARRIVED)) == (0, 1, 0)


def test_same_instant_in_another_zone_is_a_duplicate(inbox):
    inbox.store([event()], ARRIVED)
    same = event(event_timestamp="2017-12-30T13:12:00-05:00")
    assert outcome(inbox.store([same], ARRIVED)) == (0, 1, 0)


def test_other_event_under_a_stored_id_is_rejected_and_the_first_kept(inbox):
    inbox.store([event()], ARRIVED)
    receipt = inbox.store([event(amount=60)], ARRIVED)
    assert outcome(receipt) == (0, 0, 1)
    assert "another event" in receipt.rejections[0].reason
    assert outcome(inbox.store([event()], ARRIVED)) == (0, 1, 0)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (event(event_type="steal"), "event_type"),
        (event(amount=-1), "amount"),
        (event(amount=0.5), "amount"),
        (event(quantity=2**63), "quantity"),
        (event(event_timestamp="2017-12-30T18:12:00"), "timezone"),
        (event(event_timestamp="2018-01-01T00:00:00Z"), "future"),
        (event(created_timestamp="2017-12-01T00:00:00Z"), "created_timestamp"),
        (event(product_id=None), "product_id"),
        (event(surprise=1), "surprise"),
        ({"event_id": "x"}, "user_id"),
        ("text", "event"),
        (None, "event"),
        (event(user_id="\ud800"), "user_id"),
    ],
)
def test_invalid_event_is_rejected_with_the_reason_and_the_others_are_stored(inbox, bad, reason):
    receipt = inbox.store([event("a"), bad, event("b")], ARRIVED)
    assert outcome(receipt) == (2, 0, 1)
    assert receipt.rejections[0].index == 1
    assert reason in receipt.rejections[0].reason
    receipt.model_dump_json()


def test_rejection_names_the_event_even_by_an_id_that_is_not_valid_text(inbox):
    receipt = inbox.store([event("bad", amount=-1), event("\ud800"), event(3)], ARRIVED)
    assert [rejection.event_id for rejection in receipt.rejections] == ["bad", "\\ud800", None]
    receipt.model_dump_json()


def test_reason_is_short_even_for_an_event_with_thousands_of_unknown_fields(inbox):
    (rejection,) = inbox.store([event() | {f"n{i}": 0 for i in range(5_000)}], ARRIVED).rejections
    assert "n0: " in rejection.reason and len(rejection.reason) < 2_000


def test_search_needs_no_product(inbox):
    search = event(event_type="search", product_id=None, quantity=None, amount=None)
    assert outcome(inbox.store([search], ARRIVED)) == (1, 0, 0)


def test_clock_of_the_sender_may_be_a_minute_ahead(inbox):
    assert outcome(inbox.store([event(event_timestamp="2017-12-31T00:01:00Z")], ARRIVED))[0] == 1


def test_event_is_learned_at_its_arrival_unless_the_sender_states_an_instant(inbox, tmp_path):
    inbox.store([event("a"), event("b", created_timestamp="2017-12-30T19:00:00Z")], ARRIVED)
    with sqlite3.connect(tmp_path / "inbox.db") as connection:
        learned = dict(connection.execute("select event_id, created_timestamp from inbox"))
    assert learned == {"a": 1514678400000000, "b": 1514660400000000}


def test_unwritable_store_refuses_the_batch_in_one_sentence(tmp_path):
    (tmp_path / "inbox.db").mkdir()
    with pytest.raises(StorageFailed, match="send the batch again"):
        Inbox(tmp_path / "inbox.db").store([event()], ARRIVED)


def redemption(event_id: str = "r1", **changes) -> dict:
    return {
        "event_id": event_id,
        "event_type": "redemption",
        "user_id": "900",
        "event_timestamp": "2017-12-30T18:12:00Z",
        "coupon_id": "c1",
        "discount_amount": 50,
    } | changes


def test_stored_redemptions_are_passed_on_and_so_are_duplicates(tmp_path):
    received = []
    inbox = Inbox(tmp_path / "inbox.db", received.extend)
    inbox.store([event(), redemption()], ARRIVED)
    inbox.store([redemption(), redemption("r2", discount_amount=None)], ARRIVED)
    at = 1_514_657_520_000_000
    one, two = (
        RedemptionSeen("r1", "900", "c1", at, 50),
        RedemptionSeen("r2", "900", "c1", at, None),
    )
    assert received == [one, one, two]
    assert Inbox(tmp_path / "inbox.db").redemptions() == [one, two]


def test_new_inbox_has_no_redemptions(tmp_path):
    assert Inbox(tmp_path / "inbox.db").redemptions() == []


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (redemption(coupon_id=None), "coupon_id is missing"),
        (redemption(discount_amount=10**12 + 1), "discount_amount must be at most 1000000000000"),
        (redemption(discount_amount=-1), "discount_amount"),
        (event(coupon_id="c1"), "only a redemption has a coupon_id"),
        (event(discount_amount=5), "only a redemption has a coupon_id or discount_amount"),
    ],
)
def test_redemption_needs_a_coupon_and_no_other_event_may_have_one(tmp_path, raw, reason):
    received = []
    receipt = Inbox(tmp_path / "inbox.db", received.extend).store([raw], ARRIVED)
    assert outcome(receipt) == (0, 0, 1) and reason in receipt.rejections[0].reason
    assert received == []


def used(event_id: str = "r1", **changes) -> dict:
    return {
        "event_id": event_id,
        "event_type": "redemption",
        "user_id": "900",
        "event_timestamp": "2017-12-30T18:12:00Z",
        "coupon_id": "once",
        "discount_amount": 200,
    } | changes


def canceled(event_id: str = "c1", **changes) -> dict:
    return {
        "event_id": event_id,
        "event_type": "redemption_canceled",
        "user_id": "900",
        "event_timestamp": "2017-12-30T19:00:00Z",
        "redemption_id": "r1",
    } | changes


def test_redemption_is_taken_back_after_it_is_stored(tmp_path):
    calls: list = []
    inbox = Inbox(
        tmp_path / "inbox.db",
        lambda seen: calls.append([one.redemption_id for one in seen]),
        lambda ids: calls.append(("back", *ids)),
    )
    assert outcome(inbox.store([canceled(), used()], ARRIVED)) == (2, 0, 0)
    assert outcome(inbox.store([canceled()], ARRIVED)) == (0, 1, 0)
    assert calls == [["r1"], ("back", "r1"), ("back", "r1")]
    assert inbox.taken_back() == ["r1"] and len(inbox.redemptions()) == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (canceled(redemption_id=None), "redemption_id is missing"),
        (canceled(user_id="901"), "another user_id"),
        (canceled(redemption_id="bought"), "names a purchase"),
        (used("r2", redemption_id="r1"), "must be left out"),
        (event("e2", redemption_id="r1"), "redemption_canceled"),
        (used(discount_amount=0), "redemption_canceled"),
    ],
)
def test_event_that_takes_nothing_back_is_rejected_with_the_reason(inbox, bad, reason):
    inbox.store([used(), event("bought")], ARRIVED)
    receipt = inbox.store([bad], ARRIVED)
    assert outcome(receipt) == (0, 0, 1) and reason in receipt.rejections[0].reason
    assert inbox.taken_back() == []


def test_redemption_whose_cost_a_budget_needs_is_rejected_without_its_amount(tmp_path):
    inbox = Inbox(tmp_path / "inbox.db", needs_amount=lambda coupon_id: coupon_id == "once")
    batch = [
        used(discount_amount=None),
        used("r2"),
        used("r3", coupon_id="b", discount_amount=None),
    ]
    receipt = inbox.store(batch, ARRIVED)
    assert outcome(receipt) == (2, 0, 1)
    assert "discount_amount is missing" in receipt.rejections[0].reason
