"""What was worked out of purchases is kept for the very same user, index and candidates."""

from weakref import ref

import numpy as np
import pytest

from feature_repo.online.format.entity import Entity
from serving.candidates.index import index_from_columns
from serving.recommend.features import OneUser
from serving.recommend.purchase_cache import PurchaseCache
from tests.support import serving_fakes
from tests.support.serving_fakes import columns_of, coupon, entity

COLUMNS = columns_of(coupon("milk", "1"), coupon("tea", "1"), coupon("oats", "1"))
ALL = np.arange(3)


def user() -> Entity:
    return entity(serving_fakes.user())


@pytest.fixture
def index():
    return index_from_columns(COLUMNS)


def asked(purchases: PurchaseCache, who: Entity, index, rows=ALL, name="900"):
    return purchases.of(name, who, OneUser(who), index, rows)


def test_same_user_index_and_candidates_are_worked_out_once(index):
    purchases, who = PurchaseCache(), user()
    assert asked(purchases, who, index) is asked(purchases, who, index, ALL.copy())


def test_another_object_of_the_user_another_index_or_other_candidates_are_worked_out_anew(index):
    purchases, who = PurchaseCache(), user()
    first = asked(purchases, who, index)
    assert asked(purchases, user(), index) is not first
    first = asked(purchases, who, index)
    assert asked(purchases, who, index_from_columns(COLUMNS)) is not first
    first = asked(purchases, who, index)
    fewer = asked(purchases, who, index, ALL[:2])
    assert fewer.bought.last.shape == (1, 2) and first.bought.last.shape == (1, 3)


def test_who_was_worked_out_longest_ago_is_forgotten_once_the_memory_is_full(index):
    one = PurchaseCache()
    asked(one, user(), index)
    (entry,) = one._kept.values()
    purchases, people = PurchaseCache(2 * entry.size), {name: user() for name in "abc"}
    found = {name: asked(purchases, who, index, name=name) for name, who in people.items()}
    assert set(purchases._kept) == {"b", "c"} and purchases._bytes == 2 * entry.size
    assert asked(purchases, people["c"], index, name="c") is found["c"]
    assert asked(purchases, people["a"], index, name="a") is not found["a"]


def test_nobody_is_kept_and_who_is_gone_keeps_nothing_of_the_reader_alive(index):
    purchases, nobody = PurchaseCache(), serving_fakes.user()
    asked(purchases, nobody, index)
    assert not purchases._kept
    who = user()
    first, gone = asked(purchases, who, index), ref(who)
    del who
    assert gone() is None
    assert asked(purchases, user(), index) is not first


def test_memory_is_full_when_one_more_pushes_out_another_and_another_index_empties_it(index):
    one = PurchaseCache()
    asked(one, user(), index)
    (entry,) = one._kept.values()
    purchases = PurchaseCache(2 * entry.size)
    assert not purchases.is_full
    asked(purchases, user(), index, name="a")
    assert not purchases.is_full
    asked(purchases, user(), index, name="b")
    assert purchases.is_full
    asked(purchases, user(), index_from_columns(COLUMNS), name="c")
    assert set(purchases._kept) == {"c"} and purchases._bytes == entry.size
    assert not purchases.is_full
