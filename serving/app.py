"""The HTTP door: routes of the contract, and nothing that decides."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feature_repo.names import RANKER_SERVICE
from serving.background import Background
from serving.candidates import IndexSlot
from serving.clock import Clock
from serving.decisions import DecisionLog
from serving.errors import PROBLEM_JSON, NotReady
from serving.events import Inbox
from serving.metrics import Metrics
from serving.model import ModelSlot
from serving.online import Freshness
from serving.problems import BodyLimit, install_problems
from serving.recommend import Recommender
from serving.schemas import (
    ClockState,
    EventBatch,
    EventReceipt,
    ModelName,
    ModelState,
    Problem,
    Readiness,
    RecommendationAnswer,
    RecommendationRequest,
)
from serving.webhook import Webhook

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """Everything the routes need, built by the composition root.

    ``timer`` gives seconds that only grow, for measuring how long an answer took. Without a
    ``webhook`` the service takes no notices of the registry.
    """

    recommender: Recommender
    index: IndexSlot
    models: ModelSlot
    freshness: Freshness
    decisions: DecisionLog
    inbox: Inbox
    metrics: Metrics
    background: Background
    clock: Clock
    timer: Callable[[], float]
    max_body_bytes: int
    webhook: Webhook | None = None


def create_app(service: Service) -> FastAPI:
    """The application; its lifespan starts and stops the service's threads."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.decisions.start()
        service.background.start()
        yield
        service.background.stop()
        service.decisions.close()

    # Swagger UI comes from the package: the page at /docs needs no network.
    app = FastAPIOffline(
        title="Clipwise",
        summary="Decides which coupon to show to whom.",
        version="1",
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    install_problems(app)
    app.add_middleware(BodyLimit, limit=service.max_body_bytes)
    app.add_middleware(RequestLog, metrics=service.metrics, timer=service.timer)
    _add_contract(app, service)
    _add_state(app, service)
    if service.webhook is not None:
        _add_webhook(app, service.webhook)
    return app


def _problems(**reasons: str) -> dict[int, dict]:
    content = {PROBLEM_JSON: {"schema": Problem.model_json_schema()}}
    return {
        int(status.removeprefix("s")): {"description": reason, "content": content}
        for status, reason in reasons.items()
    }


_REFUSALS = _problems(
    s413="The body is too large.",
    s422="The request does not follow the contract.",
    s503="The service cannot answer now.",
)


def _add_contract(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/recommendations",
        responses=_REFUSALS,
        response_model_exclude_none=True,
        summary="Rank the coupons that this user may see",
    )
    def recommend(request: RecommendationRequest) -> RecommendationAnswer:
        answer = service.recommender.recommend(request)
        service.metrics.answer(answer)
        return answer

    @app.post("/v1/events", responses=_REFUSALS, summary="Take in what users did")
    def take_events(batch: EventBatch) -> EventReceipt:
        receipt = service.inbox.take(batch.events, service.clock.now())
        service.metrics.events(receipt)
        return receipt


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the process lives")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/readyz",
        responses=_problems(s503="The service cannot recommend yet."),
        summary="Whether it can recommend, and by what",
    )
    def ready() -> Readiness:
        return readiness(service)

    @app.get("/v1/model", summary="The ranker in use")
    def model() -> ModelState:
        return model_state(service.models)

    @app.get("/metrics", response_class=Response, summary="Metrics for Prometheus")
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_webhook(app: FastAPI, webhook: Webhook) -> None:
    @app.post(
        "/v1/registry-webhook",
        status_code=204,
        responses=_problems(s401="The signature is not accepted."),
        summary="Look at the champion now, because the registry says that it changed",
    )
    async def registry_webhook(request: Request) -> None:
        body = await request.body()
        await run_in_threadpool(webhook.take, request.headers, body)


def readiness(service: Service) -> Readiness:
    """What the service would answer with now. Raises NotReady if it could not answer."""
    index = service.index.current
    if index is None:
        raise NotReady("Nothing is in the online store yet; run `clipwise materialize`.")
    now, ranker = service.clock.now(), service.models.current
    return Readiness(
        ready=True,
        model=ModelName(name=ranker.name, version=ranker.version),
        coupons=len(index),
        clock=ClockState(now=now, replay=service.clock.replay),
        online_watermark=service.freshness.watermark(),
        notes=(*_model_notes(service.models), *_state_notes(service, now)),
    )


def _model_notes(models: ModelSlot) -> list[str]:
    if models.problem is not None:
        return [models.problem]
    if not models.has_champion:
        return [f"There is no champion; ranking by the rule {models.current.name}."]
    return []


def _state_notes(service: Service, now: datetime) -> list[str]:
    notes = []
    stale = service.freshness.stale_features(now)
    if stale:
        notes.append(f"Stale features: {', '.join(stale)}; run `clipwise materialize`.")
    if service.decisions.dropped:
        notes.append(f"{service.decisions.dropped} decisions are missing from the log.")
    return notes


def model_state(models: ModelSlot) -> ModelState:
    """The ranker in use, and why the newest champion is not it."""
    ranker = models.current
    return ModelState(
        name=ranker.name,
        version=ranker.version,
        is_champion=models.has_champion,
        problem=models.problem,
        feature_service=RANKER_SERVICE,
    )


class RequestLog:
    """Times each request, counts it, and logs one line that says nothing about the user."""

    def __init__(self, app: ASGIApp, metrics: Metrics, timer: Callable[[], float]) -> None:
        self._app = app
        self._metrics = metrics
        self._timer = timer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = self._timer(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._note(scope, status, self._timer() - begun)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        self._metrics.request(route, status, seconds)
        log.info("%s %s %d in %.1f ms", scope["method"], route, status, 1000 * seconds)
