from datetime import timedelta

from serving.online.feast_reader import View
from tests.support.serving_fakes import WATERMARK


def view(complete_until=WATERMARK, hours: float = 24) -> View:
    return View("user_stats", ("user_id",), ("spend_7d",), complete_until, timedelta(hours=hours))


def test_view_is_fresh_up_to_its_allowance():
    assert not view().is_stale(WATERMARK + timedelta(hours=24))


def test_view_is_stale_after_its_allowance():
    assert view().is_stale(WATERMARK + timedelta(hours=24, microseconds=1))


def test_view_that_was_never_materialized_is_stale():
    assert view(complete_until=None).is_stale(WATERMARK)
