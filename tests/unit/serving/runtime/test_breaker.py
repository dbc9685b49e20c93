"""The circuit breaker: it opens after failures in a row, and allows one call per pause."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.runtime.breaker import Breaker
from tests.support.serving_fakes import Timer


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def breaker(timer) -> Breaker:
    return Breaker(3, 10.0, timer)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.allows()
        breaker.failed()


def test_breaker_opens_after_its_number_of_failures_in_a_row(breaker):
    fail(breaker, 2)
    assert not breaker.is_open and breaker.allows()
    breaker.failed()
    assert breaker.is_open and not breaker.allows()


def test_success_between_failures_keeps_the_breaker_closed(breaker):
    for _ in range(5):
        fail(breaker, 2)
        breaker.succeeded()
    assert not breaker.is_open and breaker.allows()


def test_open_breaker_allows_one_call_per_pause(breaker, timer):
    fail(breaker, 3)
    timer.now = 9.9
    assert not breaker.allows()
    timer.now = 10.0
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.failed()
    timer.now = 19.9
    assert not breaker.allows()
    timer.now = 20.0
    assert breaker.allows() and breaker.is_open


def test_first_success_closes_the_breaker(breaker, timer):
    fail(breaker, 3)
    timer.now = 10.0
    assert breaker.allows()
    breaker.succeeded()
    assert not breaker.is_open
    fail(breaker, 2)
    assert not breaker.is_open


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=60))
def test_store_that_is_down_gets_its_failures_and_then_one_call_per_pause(steps):
    timer = Timer()
    breaker, calls = Breaker(3, 10.0, timer), []
    for pause, calls_store in steps:
        timer.now += pause
        if calls_store and breaker.allows():
            breaker.failed()
            calls.append(timer.now)
    later = calls[2:]
    assert all(after - before >= 10.0 for before, after in zip(later, later[1:], strict=False))
