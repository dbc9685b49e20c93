"""Puts the service together: the only place in serving that reads the environment and the clock."""

import atexit
import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import FastAPI

from feature_repo.names import TERMS_SERVICE
from serving.addresses import in_url, is_loopback, listener
from serving.app import Service, create_app
from serving.audit import AuditLog
from serving.background import Background
from serving.candidates import IndexSlot
from serving.clock import Clock, microseconds, standing_at, unhurried
from serving.connections import bounded_by
from serving.deadline import Deadline
from serving.decisions import DecisionLog
from serving.degradation import SteadyLedger, SteadyUsers
from serving.departments import Departments
from serving.errors import CannotListen
from serving.events import Inbox
from serving.keys import KeyFile, WatchedKeys
from serving.known import (
    active_users,
    coupon_departments,
    coupon_ids,
    product_ids,
    redeemed,
    stated_terms,
)
from serving.ledger import Ledger
from serving.logs import current_request_id
from serving.metrics import Metrics
from serving.model import ModelSlot
from serving.online import FeastOnline, Presence
from serving.recommend import Recommender
from serving.redemptions import Redemptions
from serving.registry import MlflowRegistry
from serving.settings import Limits, Settings, settings_from_environment
from serving.shadow import Shadow
from serving.sqlite_ledger import SqliteLedger
from serving.stages import Stopwatch
from serving.traces import Traces, otlp_traces
from serving.warming import Warming
from serving.webhook import Webhook

log = logging.getLogger(__name__)

_LAST_ANSWERS_SECONDS = 10
_SWITCH_SECONDS = 0.0005

# For what the background reads, in one piece; a request has its own deadline.
_REDIS_SECONDS = 5

# The tools read these at their import, which is why that happens late.
_DEFAULTS = {
    # Without a network each of the two would cost time.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    # A registry that is down must not hold up what serves meanwhile.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # Arrow's own way of keeping memory holds on to some 40 MB of what files of decisions took.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    # Whose traces these are.
    "OTEL_SERVICE_NAME": "clipwise",
}


def load_settings(**overrides: object) -> Settings:
    """The settings of this process's environment; ``overrides`` win."""
    return settings_from_environment(os.environ, **overrides)


def serve(settings: Settings, listening: Callable[[str], None]) -> None:
    """Answer requests until the process is stopped; ``listening`` hears under which address.

    Raises CannotListen and KeysFailed before anything heavy is done.
    """
    import uvicorn

    from serving.workers import serve_by_workers

    keys = KeyFile(settings.home).read()
    if not len(keys) and not is_loopback(settings.host):
        raise CannotListen(
            f"Without an API key the service listens on this machine alone, and {settings.host} is "
            "reached from others; make a key by `clipwise keys add`, or leave --host out."
        )
    with listener(settings.host, settings.port) as socket:
        listening(f"http://{in_url(settings.host)}:{socket.getsockname()[1]}")
        options = server_options(settings.limits)
        if settings.workers > 1:
            serve_by_workers(settings, socket, options)
        else:
            uvicorn.Server(uvicorn.Config(build(settings), **options)).run(sockets=[socket])


def server_options(limits: Limits) -> dict[str, Any]:
    """What uvicorn is told beside where to listen."""
    return {
        "http": bounded_by(limits),
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": _LAST_ANSWERS_SECONDS,
    }


def build(settings: Settings) -> FastAPI:
    """The application, ready to be run by an ASGI server.

    Raises LakeError in replay if nothing was ingested yet; on the wall clock the service starts
    without and says that it is not ready.
    """
    from feature_repo.lake import Lake

    prepare_environment(settings)
    lake = Lake(settings.home)
    online = FeastOnline(_feature_store(settings))
    return create_app(assemble(settings, lake, online))


def assemble(settings: Settings, lake: Any, online: FeastOnline) -> Service:
    """Everything the routes need, each part with the parts it stands on."""
    clock = _clock(lake, online, settings.replay)
    terms = FeastOnline(online.store, TERMS_SERVICE)
    index = IndexSlot(
        lambda: online.coupons(coupon_ids(lake)),
        lambda: online.materialized() and (online.materialized(), terms.materialized()),
        lambda: stated_terms(lake, terms),
        lambda: product_ids(lake),
    )
    ledger = _ledger(settings)
    inbox = Inbox(settings.home / "inbox.db", lambda used: redemptions.take(used))
    redemptions = Redemptions(
        ledger,
        lambda: index.current,
        lambda: lake.state().number,
        lambda coupons, names: redeemed(lake, coupons, names),
        inbox.redemptions,
    )
    presence = Presence(online.coupons, lambda: index.current)
    users = SteadyUsers(online, settings.online, time.monotonic, lambda: presence.is_lost)
    registry = MlflowRegistry(settings.tracking_uri)
    models = ModelSlot(registry, challenges=settings.experiment.has_challenger)
    audit = AuditLog(settings.home, registry, _wall)
    decisions = DecisionLog(
        settings.home / "decisions", settings.decisions, unhurried(time.time, time.monotonic)
    )
    shadow = Shadow()
    metrics = Metrics(decisions, lambda: models.current, shadow)
    departments = Departments(lambda: coupon_departments(lake), lambda: lake.state().number)
    traces = otlp_traces() if settings.traced else None
    champion = (models.refresh, audit.look, metrics.look)
    coupons = (online.refresh, terms.refresh, index.refresh, presence.look, redemptions.refresh)
    if settings.policies.limit_departments:
        coupons = (*coupons, departments.refresh)
    recommender = Recommender(
        users=users,
        freshness=online,
        index=lambda: index.current,
        models=lambda: models.models,
        decisions=decisions,
        clock=clock,
        new_id=current_request_id,
        watch=_stopwatch(metrics, traces),
        ledger=SteadyLedger(ledger, settings.online.pause_seconds, time.monotonic),
        rules=settings.rules,
        policies=settings.policies,
        departments=departments.of,
        experiment=settings.experiment,
        shadow=shadow,
        deadline=partial(Deadline, settings.deadline_seconds, time.monotonic),
    )
    most = settings.online.remembered
    return Service(
        recommender=recommender,
        warming=Warming(
            recommender.ahead,
            lambda: index.current,
            users.held,
            lambda: active_users(lake, most),
            most,
            settings.poll_seconds,
        ),
        index=index,
        models=models,
        freshness=online,
        decisions=decisions,
        inbox=inbox,
        metrics=metrics,
        background=Background(settings.poll_seconds, *coupons, *champion),
        clock=clock,
        timer=time.perf_counter,
        begun=unhindered,
        online_is_down=lambda: users.is_down,
        online_is_lost=lambda: presence.is_lost,
        keys=_keys(settings),
        limits=settings.limits,
        webhook=_webhook(settings, Background(settings.poll_seconds, *champion)),
        traces=traces,
        policies=settings.policies,
        experiment=settings.experiment,
        shadow=shadow,
    )


def unhindered() -> None:
    """Let nothing in this process hold up a request that need not.

    What is in memory by now stays there: looking through it for garbage would stop everything for
    a tenth of a second again and again. And a thread that writes a file hands over sooner.
    """
    gc.collect()
    gc.freeze()
    # At the end it is let go, or extensions that count what they made complain of it.
    atexit.register(gc.unfreeze)
    sys.setswitchinterval(_SWITCH_SECONDS)


def prepare_environment(settings: Settings) -> None:
    """Set what the tools read from the environment, before any of them is imported."""
    os.environ["CLIPWISE_HOME"] = str(settings.home)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def _keys(settings: Settings) -> WatchedKeys:
    """The keys in force; who is reached from others needs one from the start."""
    folder = settings.run_folder
    mark = None if folder is None else folder / "keyed"
    return WatchedKeys(KeyFile(settings.home), log.warning, not is_loopback(settings.host), mark)


def _webhook(settings: Settings, champion: Background) -> Webhook | None:
    """Where the registry's notices come in, if there is a secret to know them by."""
    if settings.webhook_secret is None:
        return None
    return Webhook(settings.webhook_secret, champion.run_once, time.time)


def _ledger(settings: Settings) -> Ledger:
    """The ledger in Redis if there is an address of one, else in a file."""
    rules = settings.rules

    def now() -> int:
        return microseconds(_wall())

    if rules.ledger_redis is None:
        return SqliteLedger(settings.home / "ledger.db", rules.reservation_seconds, now)
    from serving.redis_ledger import RedisLedger, redis_client

    return RedisLedger(redis_client(rules.ledger_redis), rules.reservation_seconds, now)


def _stopwatch(metrics: Metrics, traces: Traces | None) -> Callable[[], Stopwatch]:
    """Measures in nanoseconds of Unix time that no change of the clock disturbs."""
    since = time.time_ns() - time.perf_counter_ns()
    listeners = (metrics.watched,) if traces is None else (metrics.watched, traces.stages)
    return lambda: Stopwatch(lambda: since + time.perf_counter_ns(), listeners)


def _clock(lake: Any, online: FeastOnline, replay: bool) -> Clock:
    """The wall clock, or in replay one that stands where the data ends."""
    if not replay:
        return Clock(_wall)
    return Clock(standing_at(lake.state().watermark, online.watermark), replay=True)


def _wall() -> datetime:
    return datetime.now(UTC)


def _feature_store(settings: Settings) -> Any:
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(settings.feature_repo))
    online = store.config.online_store
    if hasattr(online, "connection_string"):
        online.connection_string = with_timeout(online.connection_string)
    return store


def with_timeout(redis: str) -> str:
    """Feast's address of a Redis, which otherwise is waited for without an end."""
    return redis if "socket_timeout=" in redis else f"{redis},socket_timeout={_REDIS_SECONDS}"
