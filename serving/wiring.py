"""Builds the parts of the service: one builder a room, called in the order of need."""

import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from feature_repo.instants import microseconds
from feature_repo.lake.reader import Lake
from feature_repo.names import RANKERS
from serving.access.api_keys import KeyFile, ReloadingKeys
from serving.api.service import Service
from serving.candidates.index import CandidateIndex, IndexSlot
from serving.decisions.log import DecisionLog
from serving.decisions.shadow import Shadow
from serving.events.inbox import Inbox
from serving.events.redemption_feed import RedemptionFeed
from serving.http.addresses import is_loopback
from serving.lake_queries import (
    active_users,
    coupon_departments,
    load_index,
    published_number,
    redemptions,
)
from serving.ledger.ledger import Ledger
from serving.ledger.resilient_ledger import ResilientLedger
from serving.ledger.sqlite_ledger import SqliteLedger
from serving.models.audit import AuditLog
from serving.models.mlflow_registry import MlflowRegistry
from serving.models.slot import Slots, in_use, model_slots, refresh_all
from serving.models.webhook import Webhook
from serving.online.feast_reader import FeastOnline
from serving.online.presence import Presence
from serving.online.resilient_users import ResilientUsers
from serving.policy.departments import Departments
from serving.recommend.decision import Records
from serving.recommend.prefetch import Prefetch
from serving.recommend.recommender import Limits, Rankers, Reads, Recommender
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


@dataclass(frozen=True)
class Catalog:
    """Coupons and users, as read from the online store and the lake."""

    online: FeastOnline
    index: IndexSlot
    presence: Presence
    users: ResilientUsers
    departments: Departments

    def current_index(self) -> CandidateIndex | None:
        """The candidate index in use, or None before the first."""
        return self.index.current


@dataclass(frozen=True)
class Usage:
    """The use of coupons: the ledger, and the events that feed it."""

    ledger: Ledger
    feed: RedemptionFeed
    inbox: Inbox


@dataclass(frozen=True)
class Champions:
    """The versions in use of each ranker, and the record of their changes."""

    slots: Slots
    audit: AuditLog


@dataclass(frozen=True)
class Recorders:
    """The sinks of decisions, metrics and traces."""

    decisions: DecisionLog
    shadow: Shadow
    metrics: Metrics
    traces: Traces | None
    timer: Callable[[], MeteredTimer]


def assemble(settings: Settings, lake: Lake, online: FeastOnline) -> Service:
    """Builds every part of the service. Raises LakeError in replay for a lake without a state."""
    clock = _clock(settings, lake, online)
    catalog = _catalog(settings, clock, lake, online)
    usage = _usage(settings, lake, catalog)
    champions = _champions(settings)
    recorders = _recorders(settings, champions)
    recommender = _recommender(settings, clock, catalog, usage, champions, recorders)
    return _service(settings, lake, clock, catalog, usage, champions, recorders, recommender)


def _clock(settings: Settings, lake: Lake, online: FeastOnline) -> Clock:
    """The wall clock, or in replay a clock frozen at the end of the data."""
    if not settings.replay:
        return Clock(_wall)
    return Clock(frozen_at(lake.state().watermark, online.watermark), replay=True)


def _catalog(settings: Settings, clock: Clock, lake: Lake, online: FeastOnline) -> Catalog:
    index = IndexSlot(
        partial(load_index, lake, online),
        lambda: _mark(online.materialized(), published_number(lake)),
        lambda: microseconds(clock.now()),
    )
    presence = Presence(online.coupons, lambda: index.current)
    users = ResilientUsers(online, settings.online, time.monotonic, lambda: presence.is_lost)
    departments = Departments(lambda: coupon_departments(lake), lambda: lake.state().number)
    return Catalog(online, index, presence, users, departments)


def _mark(online: Hashable | None, published: Hashable | None) -> Hashable | None:
    """A value that changes with the features online and with the plans; None without either."""
    return None if online is None or published is None else (online, published)


def _usage(settings: Settings, lake: Lake, catalog: Catalog) -> Usage:
    path, ledger = settings.home / "inbox.db", _ledger(settings)
    feed = RedemptionFeed(
        ledger,
        catalog.current_index,
        lambda: lake.state().number,
        partial(redemptions, lake),
        Inbox(path).redemptions,
        Inbox(path).taken_back,
        settings.rules.canceled_returns,
    )
    guarded = ResilientLedger(ledger, settings.online.pause_seconds, time.monotonic)
    return Usage(guarded, feed, Inbox(path, feed.add, feed.take_back, feed.needs_amount))


def _ledger(settings: Settings) -> Ledger:
    """The ledger in Redis if its address is set, else in a file."""
    rules = settings.rules

    def now() -> int:
        return microseconds(_wall())

    if rules.ledger_redis is None:
        return SqliteLedger(settings.home / "ledger.db", rules.reservation_seconds, now)
    from serving.ledger.redis_ledger import RedisLedger, redis_client

    return RedisLedger(redis_client(rules.ledger_redis), rules.reservation_seconds, now)


def _champions(settings: Settings) -> Champions:
    registries = {
        key: MlflowRegistry(settings.tracking_uri, names) for key, names in RANKERS.items()
    }
    slots = model_slots(registries, settings.experiment.has_challenger)
    aliases = {RANKERS[key].model: registry for key, registry in registries.items()}
    return Champions(slots, AuditLog(settings.home, aliases, _wall))


def _recorders(settings: Settings, champions: Champions) -> Recorders:
    decisions = DecisionLog(
        settings.home / "decisions",
        settings.decisions,
        steady_wall_clock(time.time, time.monotonic),
    )
    shadow = Shadow()
    metrics = Metrics(decisions, lambda: in_use(champions.slots), shadow)
    traces = otlp_traces() if settings.traced else None
    return Recorders(decisions, shadow, metrics, traces, _timer(metrics, traces))


def _timer(metrics: Metrics, traces: Traces | None) -> Callable[[], MeteredTimer]:
    """Makes stage timers in nanoseconds of Unix time, unaffected by later clock changes."""
    since = time.time_ns() - time.perf_counter_ns()
    listeners = (
        (metrics.record_stages,)
        if traces is None
        else (metrics.record_stages, traces.record_stages)
    )
    return lambda: MeteredTimer(lambda: since + time.perf_counter_ns(), listeners)


def _recommender(
    settings: Settings,
    clock: Clock,
    catalog: Catalog,
    usage: Usage,
    champions: Champions,
    recorders: Recorders,
) -> Recommender:
    return Recommender(
        reads=Reads(catalog.online, catalog.index.at, catalog.users),
        rankers=Rankers(lambda key: champions.slots[key].models, settings.experiment),
        records=Records(recorders.decisions, recorders.shadow),
        clock=clock,
        new_id=current_request_id,
        limits=Limits(settings.rules, usage.ledger, settings.policies, catalog.departments.labels),
        timer=recorders.timer,
        deadline=partial(Deadline, settings.deadline_seconds, time.monotonic),
    )


def _service(
    settings: Settings,
    lake: Lake,
    clock: Clock,
    catalog: Catalog,
    usage: Usage,
    champions: Champions,
    recorders: Recorders,
    recommender: Recommender,
) -> Service:
    of_champion: tuple[Callable[[], None], ...] = (
        partial(refresh_all, champions.slots),
        champions.audit.check,
        recorders.metrics.collect,
    )
    of_catalog: tuple[Callable[[], None], ...] = (
        catalog.online.refresh,
        catalog.index.refresh,
        catalog.presence.check,
        usage.feed.refresh,
    )
    if settings.policies.has_department_limit:
        of_catalog = (*of_catalog, catalog.departments.refresh)
    return Service(
        recommender=recommender,
        prefetch=_prefetch(settings, lake, catalog, recommender),
        index=catalog.index,
        slots=champions.slots,
        freshness=catalog.online,
        decisions=recorders.decisions,
        inbox=usage.inbox,
        metrics=recorders.metrics,
        background=Background(settings.poll_seconds, *of_catalog, *of_champion),
        clock=clock,
        timer=time.perf_counter,
        started=tune_interpreter,
        online_is_down=lambda: catalog.users.is_down,
        online_is_lost=lambda: catalog.presence.is_lost,
        keys=_keys(settings),
        limits=settings.limits,
        webhook=_webhook(settings, Background(settings.poll_seconds, *of_champion)),
        traces=recorders.traces,
        policies=settings.policies,
        experiment=settings.experiment,
        shadow=recorders.shadow,
    )


def _prefetch(
    settings: Settings, lake: Lake, catalog: Catalog, recommender: Recommender
) -> Prefetch:
    most = settings.online.cached_users
    return Prefetch(
        recommender.prefetch,
        catalog.current_index,
        catalog.users.cached_ids,
        lambda: active_users(lake, most),
        most,
        settings.poll_seconds,
    )


def _keys(settings: Settings) -> ReloadingKeys:
    """The valid API keys. An address that others reach needs one from the start."""
    folder = settings.run_folder
    marker = None if folder is None else folder / "keyed"
    return ReloadingKeys(
        KeyFile(settings.home), log.warning, not is_loopback(settings.host), marker
    )


def _webhook(settings: Settings, of_champion: Background) -> Webhook | None:
    """The receiver of the registry's notices, if a secret to verify them is set."""
    if settings.webhook_secret is None:
        return None
    return Webhook(settings.webhook_secret, of_champion.run_once, time.time)


def _wall() -> datetime:
    return datetime.now(UTC)
