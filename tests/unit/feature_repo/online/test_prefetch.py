"""Items that are made one step ahead are the same items."""

import threading

import pytest

from feature_repo.online.materialize.prefetch import ahead


def test_items_come_once_and_in_order():
    assert list(ahead(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert list(ahead(iter([]))) == []


def test_the_next_item_is_made_while_one_is_used():
    made = threading.Event()

    def items():
        yield "first"
        made.set()
        yield "second"

    steps = ahead(items())
    assert next(steps) == "first"
    assert made.wait(10)
    assert list(steps) == ["second"]


def test_what_making_an_item_raises_comes_in_its_turn():
    def items():
        yield 1
        raise ValueError("no more")

    steps = ahead(items())
    assert next(steps) == 1
    with pytest.raises(ValueError, match="no more"):
        next(steps)
