"""The HTTP door: routes of the contract, and nothing that decides."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from serving.access.admission import Admission
from serving.access.rate_limits import RateLimiter
from serving.api.direct_route import DirectRoute, Shortcut
from serving.api.docs_page import (
    CONTRACT_PROBLEMS,
    add_page,
    describe_keys,
    ignore_range_headers,
    problems,
)
from serving.api.readiness import model_state, readiness
from serving.api.service import Service
from serving.errors import NotReady, SignatureRefused
from serving.http.instrumentation import Instrumentation
from serving.http.problems import install_problems
from serving.models.slot import ModelSlot
from serving.models.webhook import Webhook
from serving.schemas.degradation import REGISTRY
from serving.schemas.event import EventBatch, EventReceipt
from serving.schemas.recommendation import RecommendationAnswer, RecommendationRequest
from serving.schemas.status import ModelState, Readiness

DEGRADED_HEADER = "X-Clipwise-Degraded"


def create_app(service: Service) -> FastAPI:
    """The application; its lifespan starts and stops the service's threads."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.decisions.start()
        if service.shadow is not None:
            service.shadow.start()
        service.background.start()
        await service.recommender.warm()
        service.started()
        prefetching = service.prefetch and asyncio.create_task(service.prefetch.run())
        yield
        if prefetching is not None:
            prefetching.cancel()
        service.background.stop()
        await run_in_threadpool(service.recommender.close)
        if service.shadow is not None:
            service.shadow.close()
        service.decisions.close()
        if service.traces is not None:
            service.traces.close()

    # The files of the API page come from the package: it needs no network.
    app = FastAPIOffline(
        title="Clipwise",
        summary="Decides which coupon to show to whom.",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own holds paths as they came, queries and messages, once anything in the process
        # sets OpenTelemetry's global providers; what is traced here is in serving.traces.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    install_problems(app)
    hot = _add_contract(app, service)
    _add_state(app, service)
    if service.webhook is not None:
        _add_webhook(app, service.webhook)
    add_page(app)
    ignore_range_headers(app)
    describe_keys(app)
    _add_doors(app, service, hot)
    return app


def _add_doors(app: FastAPI, service: Service, hot: DirectRoute) -> None:
    """What is passed on the way to the routes, of which the ``hot`` one is reached at once.

    It stands outside of all that is FastAPI's own, which a recommendation has no need of.
    """
    rates, paths = RateLimiter(service.timer), {route.path for route in app.routes}
    plain = app.build_middleware_stack

    def around() -> ASGIApp:
        doors = Admission(Shortcut(plain(), hot), service.keys, rates, service.limits)
        return Instrumentation(doors, paths, service.metrics, service.timer, service.traces)

    app.build_middleware_stack = around


def _add_contract(app: FastAPI, service: Service) -> DirectRoute:
    """The routes of the contract; gives the one that must be reached fast."""

    async def recommend(request: RecommendationRequest) -> RecommendationAnswer:
        answered = await service.recommender.recommend(request)
        degraded = (*answered.degraded, *registry_trouble(service.models))
        service.metrics.answer(answered.body, degraded)
        # An answer is made of values that were checked: it is written out as it is.
        body = answered.body.model_dump_json(exclude_none=True)
        headers = {DEGRADED_HEADER: ", ".join(degraded)} if degraded else None
        return Response(body, media_type="application/json", headers=headers)

    app.router.add_api_route(
        "/v1/recommendations",
        recommend,
        methods=["POST"],
        responses=CONTRACT_PROBLEMS,
        summary="Rank the coupons that this user may see",
        route_class_override=DirectRoute,
    )
    hot = app.routes[-1]

    @app.post("/v1/events", responses=CONTRACT_PROBLEMS, summary="Take in what users did")
    def take_events(batch: EventBatch) -> EventReceipt:
        receipt = service.inbox.store(batch.events, service.clock.now())
        service.metrics.events(receipt)
        return receipt

    return hot


def registry_trouble(models: ModelSlot) -> tuple[str, ...]:
    """What an answer lacks while the newest champion cannot be had."""
    return () if models.problem is None else (REGISTRY,)


def _add_state(app: FastAPI, service: Service) -> None:
    # On the event loop: these answer even while every thread waits for something.
    @app.get("/healthz", summary="Whether the process lives")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/readyz",
        responses=problems((NotReady, "The service cannot recommend yet.")),
        summary="Whether it can recommend, and by what",
    )
    async def ready() -> Readiness:
        return readiness(service)

    @app.get("/v1/model", summary="The ranker in use")
    async def model() -> ModelState:
        return model_state(service)

    @app.get("/metrics", response_class=Response, summary="Metrics for Prometheus")
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_webhook(app: FastAPI, webhook: Webhook) -> None:
    @app.post(
        "/v1/registry-webhook",
        status_code=204,
        responses=problems((SignatureRefused, "The signature is not accepted.")),
        summary="Look at the champion now, because the registry says that it changed",
    )
    async def registry_webhook(request: Request) -> None:
        body = await request.body()
        await run_in_threadpool(webhook.handle, request.headers, body)
