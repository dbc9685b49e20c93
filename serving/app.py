"""The HTTP door: routes of the contract, and nothing that decides."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from feature_repo.names import PLACEMENTS, RANKER_SERVICE
from serving.background import Background
from serving.body_route import BodyRoute, Shortcut
from serving.candidates import IndexSlot
from serving.clock import Clock
from serving.decisions import DecisionLog
from serving.degradation import REGISTRY
from serving.doors import Doors, Keys
from serving.envelope import Envelope
from serving.errors import NotReady, SignatureRefused
from serving.event_schemas import EventBatch, EventReceipt
from serving.events import Inbox
from serving.experiment import Experiment
from serving.limits import Rates
from serving.metrics import Metrics
from serving.model import ModelSlot, Ranker
from serving.online import Freshness
from serving.pages import CONTRACT_PROBLEMS, add_page, describe_keys, give_files_whole, problems
from serving.policies import Policies
from serving.problems import install_problems
from serving.recommend import Recommender
from serving.schemas import ModelName, RecommendationAnswer, RecommendationRequest
from serving.settings import Limits
from serving.shadow import Shadow
from serving.states import ChallengerState, ClockState, ModelState, Readiness
from serving.traces import Traces
from serving.warming import Warming
from serving.webhook import Webhook

DEGRADED_HEADER = "X-Clipwise-Degraded"


@dataclass(frozen=True)
class Service:
    """Everything the routes need, built by the composition root.

    ``timer`` gives seconds that only grow, for measuring how long an answer took. Without a
    ``webhook`` the service takes no notices of the registry; without ``traces`` it makes none;
    without a ``shadow`` no challenger ranks there; without ``warming`` nobody is read ahead.
    ``online_is_down`` says whether the online store is being left alone, ``online_is_lost`` whether
    it came back empty. ``begun`` is called once everything is in memory.
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
    keys: Keys
    limits: Limits
    webhook: Webhook | None = None
    traces: Traces | None = None
    policies: Policies = field(default_factory=Policies)
    experiment: Experiment = field(default_factory=Experiment)
    shadow: Shadow | None = None
    warming: Warming | None = None
    online_is_down: Callable[[], bool] = lambda: False
    begun: Callable[[], None] = lambda: None
    online_is_lost: Callable[[], bool] = lambda: False


def create_app(service: Service) -> FastAPI:
    """The application; its lifespan starts and stops the service's threads."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.decisions.start()
        if service.shadow is not None:
            service.shadow.start()
        service.background.start()
        await service.recommender.warm()
        service.begun()
        ahead = None if service.warming is None else asyncio.create_task(service.warming.run())
        yield
        if ahead is not None:
            ahead.cancel()
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
    give_files_whole(app)
    describe_keys(app)
    _add_doors(app, service, hot)
    return app


def _add_doors(app: FastAPI, service: Service, hot: BodyRoute) -> None:
    """What is passed on the way to the routes, of which the ``hot`` one is reached at once.

    It stands outside of all that is FastAPI's own, which a recommendation has no need of.
    """
    rates, paths = Rates(service.timer), {route.path for route in app.routes}
    plain = app.build_middleware_stack

    def around() -> ASGIApp:
        doors = Doors(Shortcut(plain(), hot), service.keys, rates, service.limits)
        return Envelope(doors, paths, service.metrics, service.timer, service.traces)

    app.build_middleware_stack = around


def _add_contract(app: FastAPI, service: Service) -> BodyRoute:
    """The routes of the contract; gives the one that must be reached fast."""

    async def recommend(request: RecommendationRequest) -> RecommendationAnswer:
        answered = await service.recommender.recommend(request)
        degraded = (*answered.degraded, *registry_trouble(service.models))
        service.metrics.answer(answered.answer, degraded)
        # An answer is made of values that were checked: it is written out as it is.
        body = answered.answer.model_dump_json(exclude_none=True)
        headers = {DEGRADED_HEADER: ", ".join(degraded)} if degraded else None
        return Response(body, media_type="application/json", headers=headers)

    app.router.add_api_route(
        "/v1/recommendations",
        recommend,
        methods=["POST"],
        responses=CONTRACT_PROBLEMS,
        summary="Rank the coupons that this user may see",
        route_class_override=BodyRoute,
    )
    hot = app.routes[-1]

    @app.post("/v1/events", responses=CONTRACT_PROBLEMS, summary="Take in what users did")
    def take_events(batch: EventBatch) -> EventReceipt:
        receipt = service.inbox.take(batch.events, service.clock.now())
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
        await run_in_threadpool(webhook.take, request.headers, body)


def readiness(service: Service) -> Readiness:
    """What the service would answer with now. Raises NotReady if it could not answer."""
    index = service.index.current
    if index is None:
        raise NotReady(
            "Nothing is in the online store yet (run `clipwise materialize`), or it cannot be read "
            "(the service's log says why)."
        )
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
    notes = [] if models.challenger_problem is None else [models.challenger_problem]
    if models.problem is not None:
        return [models.problem, *notes]
    if not models.has_champion:
        return [f"There is no champion; ranking by the rule {models.current.name}.", *notes]
    return notes


def _state_notes(service: Service, now: datetime) -> list[str]:
    notes = []
    if service.online_is_down():
        notes.append(
            "The online store is in trouble and is asked only now and then; meanwhile users are as "
            "they were last read, or unknown."
        )
    if service.online_is_lost():
        notes.append(
            "The online store lost what was materialized; meanwhile users are as they were last "
            "read, or unknown. Run `clipwise materialize`."
        )
    stale = service.freshness.stale_features(now)
    if stale:
        notes.append(f"Stale features: {', '.join(stale)}; run `clipwise materialize`.")
    if service.decisions.dropped:
        notes.append(f"{service.decisions.dropped} decisions are missing from the log.")
    if service.decisions.problem is not None:
        notes.append(
            f"Decisions wait in memory, as they cannot be written ({service.decisions.problem}); "
            "make room on the disk."
        )
    if service.shadow is not None and service.shadow.skipped:
        notes.append(f"{service.shadow.skipped} requests were not ranked in shadow.")
    return notes


def model_state(service: Service) -> ModelState:
    """The rankers in use, and why the newest champion or challenger is not among them."""
    models, problem = service.models.models, service.models.problem
    return ModelState(
        name=models.champion.name,
        version=models.champion.version,
        is_champion=service.models.has_champion,
        problem=problem,
        feature_service=RANKER_SERVICE,
        previous=_name(models.previous),
        challenger=_challenger(service),
        policies={one: service.policies.of(one).stated() for one in PLACEMENTS},
    )


def _challenger(service: Service) -> ChallengerState | None:
    if not service.experiment.has_challenger:
        return None
    return ChallengerState(
        model=_name(service.models.models.challenger),
        experiment=service.experiment.name,
        challenger_share=service.experiment.challenger_share,
        shadow_share=service.experiment.shadow_share,
        problem=service.models.challenger_problem,
    )


def _name(ranker: Ranker | None) -> ModelName | None:
    return None if ranker is None else ModelName(name=ranker.name, version=ranker.version)
