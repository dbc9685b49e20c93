"""Degraded answers: the header and the counter name what an answer lacks."""

from datetime import timedelta

import pytest

from serving.errors import ModelError
from serving.runtime.clock import Clock
from serving.schemas.degradation import KINDS
from tests.support.serving_fakes import WATERMARK, FakeOnline, FakeRegistry, user
from tests.support.serving_services import ASK, call, service


def degraded(online=None, running=None, **ask) -> tuple[list[str], str]:
    """What the header of an answer lists as lacking, and the metrics after it."""
    more = {} if online is None else {"online": online}
    running = running or service(**more)
    answer, metrics = call(
        running, ("POST", "/v1/recommendations", {"json": ASK | ask}), ("GET", "/metrics", {})
    )
    assert answer.status_code == 200
    return answer.headers.get("x-clipwise-degraded", "").split(", "), metrics.text


REACHED = user(campaign_ids=["1"], purchase_count_all=3)


@pytest.mark.parametrize(
    "kinds, case",
    [
        (["unknown-user", "no-candidates"], {"user_id": "unknown"}),
        (["stale-features"], {"online": FakeOnline({"900": REACHED}, stale=("user_profile",))}),
        (["no-candidates"], {"online": FakeOnline({"900": user(purchase_count_all=3)})}),
        (
            ["registry"],
            {"running": service(registry=FakeRegistry(ModelError("The registry is gone.")))},
        ),
    ],
)
def test_every_lack_is_in_the_header_and_counted(kinds, case):
    listed, metrics = degraded(**case)
    assert listed == kinds
    for kind in KINDS:
        count = 1.0 if kind in kinds else 0.0
        assert f'clipwise_degraded_total{{kind="{kind}"}} {count}' in metrics


def test_complete_answer_has_no_header():
    assert degraded()[0] == [""]


@pytest.mark.parametrize("down", [True, False])
def test_readiness_notes_an_open_circuit_breaker_of_the_online_store(down):
    (answer,) = call(service(online_is_down=lambda: down), ("GET", "/readyz", {}))
    assert answer.status_code == 200
    assert any("online store" in note for note in answer.json()["notes"]) == down


class Aging(FakeOnline):
    """Features that are stale after a day."""

    def stale_features(self, as_of):
        return ["user_profile"] if as_of - WATERMARK > timedelta(days=1) else []


@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(hours=-5)])
def test_clock_that_jumps_and_returns_changes_no_later_answer(jump):
    now, listed = [WATERMARK], {}
    online = Aging({"900": REACHED})
    running = service(online, clock=Clock(lambda: now[0]))
    for name, offset in (("before", timedelta()), ("jumped", jump), ("after", timedelta())):
        now[0] = WATERMARK + offset
        listed[name] = degraded(running=running)[0]
    is_stale = jump > timedelta(days=1)
    assert listed["before"] == listed["after"] == [""]
    assert listed["jumped"] == (["stale-features", "no-candidates"] if is_stale else [""])
