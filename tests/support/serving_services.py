"""A complete service of fakes, and calls of it."""

import asyncio
from datetime import datetime

import httpx

from serving.access.api_keys import Key, KeyRing
from serving.api.app import create_app
from serving.api.service import Service
from serving.candidates.index import IndexSlot, index_from_columns
from serving.errors import StorageFailed
from serving.http.limits import Limits
from serving.models.experiment import Experiment
from serving.models.slot import in_use, model_slots, refresh_all
from serving.recommend.decision import Records
from serving.recommend.recommender import Rankers, Reads, Recommender
from serving.runtime.background import Background
from serving.runtime.clock import Clock
from serving.runtime.deadline import no_deadline
from serving.schemas.event import EventReceipt
from serving.telemetry.metrics import Metrics
from serving.telemetry.stages import NoTimer
from tests.support.serving_fakes import (
    WATERMARK,
    FakeLog,
    FakeOnline,
    FakeRegistry,
    columns_of,
    coupon,
    user,
)

ASK = {"user_id": "900", "placement": "home", "k": 10, "cart": [], "explain": False}


class FakeInbox:
    def __init__(self, failing: bool = False):
        self.failing, self.batches = failing, []

    def store(self, batch, arrived: datetime) -> EventReceipt:
        if self.failing:
            raise StorageFailed("The events could not be stored.")
        self.batches.append((batch, arrived))
        return EventReceipt(accepted=len(batch), duplicate=0, rejected=0, rejections=())


class FakeKeys:
    """Keys that do not change; without any, no request needs one."""

    def __init__(self, *keys: Key):
        self.is_required, self._ring = bool(keys), KeyRing(keys)

    def current(self) -> KeyRing:
        return self._ring


def service(
    online=None,
    inbox=None,
    registry=None,
    checkout=None,
    broken=False,
    keys=(),
    limits=None,
    traces=None,
    timer=NoTimer,
    experiment=None,
    deadline=no_deadline,
    clock=None,
    **more,
) -> Service:
    online = online or FakeOnline({"900": user(campaign_ids=["1"])}, stale=())
    decisions, clock = FakeLog(), clock or Clock(lambda: WATERMARK, replay=True)
    columns = columns_of(coupon("milk", "1"), coupon("old", "1", valid_to_timestamp=0))
    index = IndexSlot(lambda: lambda at: index_from_columns(columns), online.watermark)
    experiment = experiment or Experiment()
    registries = {"home": registry or FakeRegistry(), "checkout": checkout or FakeRegistry()}
    slots = model_slots(registries, experiment.has_challenger)
    return Service(
        recommender=Recommender(
            reads=Reads(online, index.at, None if broken else online),
            rankers=Rankers(lambda key: slots[key].models),
            records=Records(decisions),
            clock=clock,
            new_id=lambda: "request-1",
            timer=timer,
            deadline=deadline,
        ),
        index=index,
        slots=slots,
        freshness=online,
        decisions=decisions,
        inbox=inbox or FakeInbox(),
        metrics=Metrics(decisions, lambda: in_use(slots)),
        background=Background(60, index.refresh, lambda: refresh_all(slots)),
        clock=clock,
        timer=lambda: 0.0,
        keys=FakeKeys(*keys),
        limits=limits or Limits(max_body_bytes=2_000),
        traces=traces,
        experiment=experiment,
        **more,
    )


def call(service: Service, *requests: tuple) -> list[httpx.Response]:
    """Starts a service and returns its answers; a request is (method, path, httpx keywords)."""

    async def run() -> list[httpx.Response]:
        app = create_app(service)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
        ):
            return [await client.request(method, path, **more) for method, path, more in requests]

    return asyncio.run(run())


def post(service: Service, path: str = "/v1/recommendations", **more) -> httpx.Response:
    return call(service, ("POST", path, more))[0]


def get(service: Service, path: str) -> httpx.Response:
    return call(service, ("GET", path, {}))[0]


def assert_problem(answer: httpx.Response, status: int) -> dict:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert {"type", "title", "status", "detail"} <= set(document)
    return document
