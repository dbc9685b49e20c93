"""The purchase cache is valid for one user object, one index, and rows that it has."""

from weakref import ref

import numpy as np
import pytest

from feature_repo.online.format.entity import Entity
from feature_repo.transforms.request.ranker_inputs import static_inputs
from serving.candidates.index import index_from_columns
from serving.recommend.features import UserColumns
from serving.recommend.purchase_cache import PurchaseCache
from tests.support import serving_fakes
from tests.support.serving_fakes import columns_of, coupon, entity

COLUMNS = columns_of(
    coupon("milk", "1", ("p-milk",)), coupon("tea", "1"), coupon("oats", "1", ("p-milk",))
)
ALL = np.arange(3)


def user() -> Entity:
    return entity(serving_fakes.user())


@pytest.fixture
def index():
    return index_from_columns(COLUMNS)


def read(cache: PurchaseCache, who: Entity, index, rows=ALL, name="900"):
    return cache.purchases_of(name, who, UserColumns(who), index, rows)


def test_same_user_index_and_rows_are_computed_once(index):
    cache, who = PurchaseCache(), user()
    assert read(cache, who, index) is read(cache, who, index, ALL.copy())


def test_another_user_object_index_or_more_rows_are_computed_again(index):
    cache, who = PurchaseCache(), user()
    first = read(cache, who, index)
    assert read(cache, user(), index) is not first
    first = read(cache, who, index)
    assert read(cache, who, index_from_columns(COLUMNS)) is not first
    for more in (ALL, ALL[1:]):
        cache = PurchaseCache()
        read(cache, who, index, ALL[:2])
        assert read(cache, who, index, more).purchases.last.shape == (1, len(more))


@pytest.mark.parametrize("rows", [[0], [1], [0, 2], [1, 2], []])
def test_fewer_rows_use_the_entry_and_leave_it(index, rows):
    calls = []

    def compute(*given):
        calls.append(given)
        return static_inputs(*given)

    cache, who = PurchaseCache(compute=compute), entity(serving_fakes.buyer({"p-milk": 3}))
    every, few = read(cache, who, index), np.array(rows, dtype=np.int64)
    found = read(cache, who, index, few)
    alone = static_inputs(UserColumns(who), index.coupons, few)
    assert len(calls) == 1 and read(cache, who, index) is every
    np.testing.assert_array_equal(found.purchases.fixed, alone.purchases.fixed)
    np.testing.assert_array_equal(found.campaign, alone.campaign)


def test_oldest_entry_is_evicted_once_the_cache_is_full(index):
    one = PurchaseCache()
    read(one, user(), index)
    cache, people = PurchaseCache(2 * one.bytes), {name: user() for name in "abc"}
    found = {name: read(cache, who, index, name=name) for name, who in people.items()}
    assert cache.user_ids == ["b", "c"] and cache.bytes == 2 * one.bytes
    assert read(cache, people["c"], index, name="c") is found["c"]
    assert read(cache, people["a"], index, name="a") is not found["a"]


def test_user_that_is_no_entity_is_not_cached_and_an_entry_keeps_no_user_alive(index):
    cache, plain = PurchaseCache(), serving_fakes.user()
    read(cache, plain, index)
    assert cache.user_ids == []
    who = user()
    first, gone = read(cache, who, index), ref(who)
    del who
    assert gone() is None
    assert read(cache, user(), index) is not first


def test_cache_is_full_when_one_more_entry_would_evict_and_another_index_empties_it(index):
    one = PurchaseCache()
    read(one, user(), index)
    cache = PurchaseCache(2 * one.bytes)
    assert not cache.is_full
    read(cache, user(), index, name="a")
    assert not cache.is_full
    read(cache, user(), index, name="b")
    assert cache.is_full
    read(cache, user(), index_from_columns(COLUMNS), name="c")
    assert cache.user_ids == ["c"] and cache.bytes == one.bytes
    assert not cache.is_full
