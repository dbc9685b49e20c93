"""Builds the parts of the service, each from the parts it needs."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from feature_repo.instants import microseconds
from feature_repo.names import TERMS_SERVICE
from serving.access.api_keys import KeyFile, WatchedKeys
from serving.api.service import Service
from serving.candidates.index import IndexSlot
from serving.decisions.log import DecisionLog
from serving.decisions.shadow import Shadow
from serving.events.inbox import Inbox
from serving.events.redemption_feed import RedemptionFeed
from serving.http.addresses import is_loopback
from serving.lake_queries import (
    active_users,
    coupon_departments,
    coupon_ids,
    product_ids,
    redeemed,
    stated_terms,
)
from serving.ledger.ledger import Ledger
from serving.ledger.resilient_ledger import ResilientLedger
from serving.ledger.sqlite_ledger import SqliteLedger
from serving.models.audit import AuditLog
from serving.models.mlflow_registry import MlflowRegistry
from serving.models.slot import ModelSlot
from serving.models.webhook import Webhook
from serving.online.feast_reader import FeastOnline
from serving.online.presence import Presence
from serving.online.resilient_users import ResilientUsers
from serving.policy.departments import Departments
from serving.recommend.prefetch import Prefetch
from serving.recommend.recommender import Recommender
from serving.runtime.background import Background
from serving.runtime.clock import Clock, frozen_at, steady_wall_clock
from serving.runtime.deadline import Deadline
from serving.runtime.process import tune_interpreter
from serving.settings import Settings
from serving.telemetry.logs import current_request_id
from serving.telemetry.metrics import Metrics
from serving.telemetry.stages import MeteredTimer
from serving.telemetry.traces import Traces, otlp_traces

log = logging.getLogger(__name__)


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
    redemptions = RedemptionFeed(
        ledger,
        lambda: index.current,
        lambda: lake.state().number,
        lambda coupons, names: redeemed(lake, coupons, names),
        inbox.redemptions,
    )
    presence = Presence(online.coupons, lambda: index.current)
    users = ResilientUsers(online, settings.online, time.monotonic, lambda: presence.is_lost)
    registry = MlflowRegistry(settings.tracking_uri)
    models = ModelSlot(registry, challenges=settings.experiment.has_challenger)
    audit = AuditLog(settings.home, registry, _wall)
    decisions = DecisionLog(
        settings.home / "decisions",
        settings.decisions,
        steady_wall_clock(time.time, time.monotonic),
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
        ledger=ResilientLedger(ledger, settings.online.pause_seconds, time.monotonic),
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
        warming=Prefetch(
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
        begun=tune_interpreter,
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
    from serving.ledger.redis_ledger import RedisLedger, redis_client

    return RedisLedger(redis_client(rules.ledger_redis), rules.reservation_seconds, now)


def _stopwatch(metrics: Metrics, traces: Traces | None) -> Callable[[], MeteredTimer]:
    """Measures in nanoseconds of Unix time that no change of the clock disturbs."""
    since = time.time_ns() - time.perf_counter_ns()
    listeners = (metrics.watched,) if traces is None else (metrics.watched, traces.stages)
    return lambda: MeteredTimer(lambda: since + time.perf_counter_ns(), listeners)


def _clock(lake: Any, online: FeastOnline, replay: bool) -> Clock:
    """The wall clock, or in replay one that stands where the data ends."""
    if not replay:
        return Clock(_wall)
    return Clock(frozen_at(lake.state().watermark, online.watermark), replay=True)


def _wall() -> datetime:
    return datetime.now(UTC)
