"""Prefetched items: the same items, the next one computed while one is used."""

import threading

import pytest

from feature_repo.online.materialize.prefetch import prefetched


def test_each_item_comes_once_and_in_order():
    assert list(prefetched(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert list(prefetched(iter([]))) == []


def test_next_item_is_computed_while_one_is_used():
    computed = threading.Event()

    def items():
        yield "first"
        computed.set()
        yield "second"

    steps = prefetched(items())
    assert next(steps) == "first"
    assert computed.wait(10)
    assert list(steps) == ["second"]


def test_error_in_an_item_is_raised_at_its_turn():
    def items():
        yield 1
        raise ValueError("no more")

    steps = prefetched(items())
    assert next(steps) == 1
    with pytest.raises(ValueError, match="no more"):
        next(steps)
