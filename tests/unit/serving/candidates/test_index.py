from dataclasses import replace

import pytest

from serving.candidates.index import END_OF_TIME, CandidateIndex, IndexSlot, index_from_columns
from tests.support.serving_fakes import WATERMARK, columns_of, coupon, index_of


def reached(index: CandidateIndex, campaigns: list[str] | None) -> list[str]:
    return list(index.coupon_id[index.candidates(campaigns)])


INDEX = index_of(
    coupon("a1", "a"), coupon("b1", "b"), coupon("a2", "a"), coupon("o1", "o", audience="open")
)


def test_user_gets_the_coupons_of_their_campaigns_and_open_ones():
    assert reached(INDEX, ["a"]) == ["a1", "a2", "o1"]


def test_unknown_user_gets_only_open_coupons():
    assert reached(INDEX, None) == ["o1"]


def test_user_without_campaigns_gets_only_open_coupons():
    assert reached(INDEX, []) == ["o1"]


def test_coupon_is_one_candidate_however_often_its_campaign_is_named():
    assert reached(INDEX, ["a", "a", "o"]) == ["a1", "a2", "o1"]


def test_campaign_without_coupons_adds_nothing():
    assert reached(INDEX, ["nowhere"]) == ["o1"]


def test_coupon_without_features_in_the_store_is_left_out():
    unknown = dict.fromkeys(coupon("x", "a")) | {"coupon_id": "x"}
    index = index_of(unknown, coupon("a1", "a"))
    assert list(index.coupon_id) == ["a1"]
    assert index.row_of == {"a1": 0}


def test_index_of_no_coupons_has_no_candidates():
    empty = {name: [] for name in columns_of(coupon("a", "1"))}
    assert reached(index_from_columns(empty), ["a"]) == []


def test_missing_column_is_an_error_and_not_a_default():
    columns = columns_of(coupon("a", "1"))
    del columns["audience"]
    with pytest.raises(KeyError, match="audience"):
        index_from_columns(columns)


class Store:
    def __init__(self):
        self.until, self.reads = None, 0

    def watermark(self):
        return self.until

    def load(self):
        self.reads += 1
        columns = columns_of(coupon("a", "1"))
        return lambda at: index_from_columns(columns)


def test_index_is_built_after_the_first_materialization_and_again_after_the_next():
    store = Store()
    slot = IndexSlot(store.load, store.watermark)
    slot.refresh()
    assert slot.current is None
    store.until = WATERMARK
    slot.refresh()
    first = slot.current
    slot.refresh()
    assert slot.current is first and store.reads == 1
    store.until = WATERMARK.replace(day=2)
    slot.refresh()
    assert slot.current is not first and store.reads == 2


def test_index_is_built_again_after_a_materialization_to_the_same_watermark():
    store, mark = Store(), [(WATERMARK, 12)]
    slot = IndexSlot(store.load, lambda: mark[0])
    slot.refresh()
    mark[0] = (WATERMARK, 24)
    slot.refresh()
    assert store.reads == 2


NOON, NIGHT = 1_000, 2_000


class Planned:
    """A build of indexes that change at noon and at night; it counts its builds."""

    def __init__(self, now: int = 0):
        self.now, self.built = now, []
        self.slot = IndexSlot(lambda: self.build, lambda: "mark", lambda: self.now)

    def build(self, instant: int) -> CandidateIndex:
        edges = (-END_OF_TIME, NOON, NIGHT, END_OF_TIME)
        since = max(edge for edge in edges if edge <= instant)
        self.built.append(since)
        until = min(edge for edge in edges if edge > instant)
        return replace(INDEX, since=since, until=until)


@pytest.mark.parametrize(("instant", "since"), [(NOON - 1, -END_OF_TIME), (NOON, NOON)])
def test_plan_is_in_force_from_its_very_instant_without_a_refresh(instant, since):
    planned = Planned()
    planned.slot.refresh()
    assert planned.slot.at(instant).since == since


def test_next_index_is_built_before_its_instant_and_no_request_builds_one():
    planned = Planned(NOON - 1)
    planned.slot.refresh()
    built = list(planned.built)
    assert built == [-END_OF_TIME, NOON]
    assert planned.slot.at(NOON).since == NOON and planned.built == built
    planned.now = NOON
    planned.slot.refresh()
    assert planned.slot.current is planned.slot.at(NOON)
    assert planned.built == [*built, NIGHT]


def test_change_in_the_far_future_is_not_built_before_it_is_near():
    planned = Planned(NOON - 301_000_000)
    planned.slot.refresh()
    assert planned.built == [-END_OF_TIME]


def test_index_of_another_instant_is_built_once_and_leaves_the_current_one():
    planned = Planned(-301_000_000)
    planned.slot.refresh()
    current = planned.slot.current
    found = [planned.slot.at(NIGHT) for _ in range(3)]
    assert len(set(map(id, found))) == 1 and found[0].since == NIGHT
    assert planned.built.count(NIGHT) == 1
    assert planned.slot.current is current is planned.slot.at(planned.now)


def test_new_features_replace_the_index_of_every_instant():
    planned, mark = Planned(NOON - 1), ["first"]
    planned.slot = IndexSlot(lambda: planned.build, lambda: mark[0], lambda: planned.now)
    planned.slot.refresh()
    before = [planned.slot.at(one) for one in (0, NOON)]
    mark[0] = "second"
    planned.slot.refresh()
    assert all(planned.slot.at(one) is not old for one, old in zip((0, NOON), before, strict=True))
