import pytest

from serving.candidates.index import CandidateIndex, IndexSlot, index_from_columns
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

    def columns(self):
        self.reads += 1
        return columns_of(coupon("a", "1"))


def test_index_is_built_after_the_first_materialization_and_again_after_the_next():
    store = Store()
    slot = IndexSlot(store.columns, store.watermark)
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
    slot = IndexSlot(store.columns, lambda: mark[0])
    slot.refresh()
    mark[0] = (WATERMARK, 24)
    slot.refresh()
    assert store.reads == 2
