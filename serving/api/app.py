"""The FastAPI application: routes of the contract, status routes, middleware and lifespan."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from feature_repo.names import ranker_for
from serving.access.admission import Admission
from serving.access.rate_limits import RateLimiter
from serving.api.direct_route import DirectRoute, RouterBypass
from serving.api.docs_page import (
    CONTRACT_PROBLEMS,
    add_docs_page,
    describe_keys,
    problem_responses,
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
    """Returns the application. Its lifespan starts and stops the service's threads."""
    app = _Application(service)
    install_problems(app)
    _add_contract_routes(app, service)
    _add_status_routes(app, service)
    if service.webhook is not None:
        _add_webhook_route(app, service.webhook)
    add_docs_page(app)
    return app


class _Application(FastAPI):
    """FastAPI with the middleware of Clipwise outside of FastAPI's own.

    ``add_middleware`` would place it inside. There it would not see every answer, and a
    recommendation would pass through layers that it does not need.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(
            title="Clipwise",
            summary="Decides which coupon to show to whom.",
            version="1",
            lifespan=lambda _: _lifespan(service),
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            # FastAPI's telemetry records raw paths, queries and messages as soon as any library
            # sets OpenTelemetry's global providers. Clipwise has its own in telemetry/traces.
            telemetry={
                "tracing": False,
                "metrics": False,
                "logs": False,
                "auto_configure": False,
            },
        )
        self._service = service

    def build_middleware_stack(self) -> ASGIApp:
        service = self._service
        (direct,) = [route for route in self.routes if isinstance(route, DirectRoute)]
        bypass = RouterBypass(super().build_middleware_stack(), direct)
        rates = RateLimiter(service.timer)
        admission = Admission(bypass, service.keys, rates, service.limits)
        paths = {route.path for route in self.routes if isinstance(route, Route | Mount)}
        return Instrumentation(admission, paths, service.metrics, service.timer, service.traces)

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        describe_keys(document)
        return document


@asynccontextmanager
async def _lifespan(service: Service) -> AsyncIterator[None]:
    service.decisions.start()
    if service.shadow is not None:
        service.shadow.start()
    service.background.start()
    await service.recommender.warm()
    service.started()
    prefetch = service.prefetch
    prefetching = None if prefetch is None else asyncio.create_task(prefetch.run())
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


def _add_contract_routes(app: FastAPI, service: Service) -> None:
    async def recommend(request: RecommendationRequest) -> Response:
        answer = await service.recommender.recommend(request)
        key = ranker_for(request.placement).key
        degraded = (*answer.degraded, *registry_degradation(service.slots[key]))
        service.metrics.answer(key, answer.body, degraded)
        # The body is built from valid values, so FastAPI need not validate it again.
        body = answer.body.model_dump_json(exclude_none=True)
        headers = {DEGRADED_HEADER: ", ".join(degraded)} if degraded else None
        return Response(body, media_type="application/json", headers=headers)

    app.router.add_api_route(
        "/v1/recommendations",
        recommend,
        methods=["POST"],
        response_model=RecommendationAnswer,
        responses=CONTRACT_PROBLEMS,
        summary="Rank the coupons that a user may see",
        route_class_override=DirectRoute,
    )

    @app.post("/v1/events", responses=CONTRACT_PROBLEMS, summary="Store events of users")
    def take_events(batch: EventBatch) -> EventReceipt:
        receipt = service.inbox.store(batch.events, service.clock.now())
        service.metrics.events(receipt)
        return receipt


def registry_degradation(slot: ModelSlot) -> tuple[str, ...]:
    """Returns the kind of degradation while the newest champion of a ranker cannot be loaded."""
    return () if slot.problem is None else (REGISTRY,)


def _add_status_routes(app: FastAPI, service: Service) -> None:
    # The first three run on the event loop, so they answer even while every thread is busy.
    @app.get("/healthz", summary="Check that the process is alive")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/readyz",
        responses=problem_responses((NotReady, "The service cannot recommend yet.")),
        summary="Check that the service can recommend, and see from what",
    )
    async def ready() -> Readiness:
        return readiness(service)

    @app.get("/v1/model", summary="Show the rankers in use")
    async def model() -> ModelState:
        return model_state(service)

    @app.get("/metrics", response_class=Response, summary="Show the metrics for Prometheus")
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_webhook_route(app: FastAPI, webhook: Webhook) -> None:
    @app.post(
        "/v1/registry-webhook",
        status_code=204,
        responses=problem_responses((SignatureRefused, "The signature is not accepted.")),
        summary="Load the new champion now, after a notice of the registry",
    )
    async def registry_webhook(request: Request) -> None:
        body = await request.body()
        await run_in_threadpool(webhook.handle, request.headers, body)
