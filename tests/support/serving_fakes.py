"""Fakes of a recommender's parts (users, ranker, registry, log, ledger), and their data."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from feature_repo.contract import COUPON_TERMS, PRODUCT_TERMS, Table
from feature_repo.instants import microseconds
from feature_repo.online.format.entity import Entity
from feature_repo.transforms.request.ranker_inputs import coupons_from_columns, ranker_inputs
from serving.candidates.index import CandidateIndex, index_from_columns
from serving.candidates.terms import TermColumns
from serving.decisions.record import Decision
from serving.errors import ModelError, StorageFailed
from serving.ledger.ledger import Claim, Redemption, Usage
from serving.policy.probability import Calibration

WATERMARK = datetime(2017, 12, 1, tzinfo=UTC)


class _ReadColumns(dict):
    """Columns with one unknown value each, added when they are first read."""

    def __missing__(self, name: str) -> list:
        self[name] = [None]
        return self[name]


def _names() -> tuple[list[str], list[str]]:
    coupons, users = _ReadColumns(coupon_id=["c"]), _ReadColumns()
    ranker_inputs(users, coupons_from_columns(coupons), np.array([0]), np.array([0]))
    return list(users), list(coupons)


USER_NAMES, COUPON_NAMES = _names()


def user(**features: Any) -> dict[str, Any]:
    """Returns a user with the given features; all others are None."""
    others = ("campaign_ids", "redeemed_coupon_ids", "redeemed_coupon_counts")
    return dict.fromkeys((*USER_NAMES, *others)) | features


def buyer(bought: Mapping[str, int], **features: Any) -> dict[str, Any]:
    """Returns a user who bought these quantities, by product id."""
    when = microseconds(WATERMARK - timedelta(days=10))
    history = {
        "history_product_ids": list(bought),
        "history_product_counts": list(bought.values()),
        "history_product_decayed_90d": [float(count) for count in bought.values()],
        "history_product_last_timestamps": [when for _ in bought],
        "history_product_coupon_counts": [0 for _ in bought],
        "history_product_amounts": [100 * count for count in bought.values()],
        "history_reference_timestamp": when,
    }
    return user(**history, purchase_count_all=sum(bought.values()), **features)


def entity(features: Mapping[str, Any]) -> Entity:
    """Returns a user in the form of the online reader."""
    fields = {name: (place, pickle.loads) for place, name in enumerate(features)}
    return Entity(fields, [pickle.dumps(value) for value in features.values()])


def coupon(coupon_id: str, campaign_id: str, products: tuple[str, ...] = (), **fields: Any) -> dict:
    """Returns a targeted coupon, valid from ten days before to ten days after the watermark."""
    return dict.fromkeys(COUPON_NAMES) | {
        "coupon_id": coupon_id,
        "coupon_code": coupon_id.upper(),
        "campaign_id": campaign_id,
        "audience": "targeted",
        "per_user_limit": None,
        "discount_type": None,
        "scope_product_ids": list(products),
        "covers_whole_cart": True,
        "valid_from_timestamp": microseconds(WATERMARK - timedelta(days=10)),
        "valid_to_timestamp": microseconds(WATERMARK + timedelta(days=10)),
        **fields,
    }


def columns_of(*coupons: dict) -> dict[str, list]:
    return {name: [row[name] for row in coupons] for name in coupons[0]}


def index_of(
    *coupons: dict, terms: Mapping[str, dict] = {}, products: Mapping[str, dict] = {}
) -> CandidateIndex:
    """Builds an index of coupons, with terms by coupon id and by product id."""
    given = TermColumns(
        terms_columns("coupon_id", COUPON_TERMS, terms),
        terms_columns("product_id", PRODUCT_TERMS, products),
    )
    return index_from_columns(columns_of(*coupons), given)


def terms_columns(key: str, table: Table, terms: Mapping[str, dict]) -> dict[str, list]:
    """Returns terms by id as columns, None where a term is not stated."""
    names = [name for name in table.column_names if name != key]
    columns = {name: [one.get(name) for one in terms.values()] for name in names}
    return {key: list(terms)} | columns


class Timer:
    """A monotonic clock whose seconds a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeOnline:
    """Users by id, a watermark, and a list of stale views."""

    users: Mapping[str, dict] = field(default_factory=dict)
    until: datetime | None = WATERMARK
    stale: tuple[str, ...] = ()

    async def user(self, user_id: str) -> dict[str, Any]:
        return self.users.get(user_id) or user()

    async def warm(self) -> None:
        return None

    def unknown_user(self) -> dict[str, Any]:
        return user()

    def cached(self, user_id: str) -> None:
        """Returns None: no user is cached."""

    async def read(self, user_id: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        return await self.user(user_id), ()

    def stale_features(self, as_of: datetime) -> list[str]:
        return list(self.stale)

    def watermark(self) -> datetime | None:
        return self.until


@dataclass
class FakeLog:
    """Keeps decisions in a list."""

    decisions: list[Decision] = field(default_factory=list)
    dropped: int = 0
    written: int = 0
    problem: str | None = None
    running: bool = False

    def record(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def start(self) -> None:
        self.running = True

    def close(self) -> None:
        self.running = False


@dataclass
class FakeRanker:
    """Scores a candidate by its position among the candidates."""

    version: str = "7"
    name: str = "home_ranker"
    calibration: Calibration | None = None

    def score(self, inputs: np.ndarray) -> np.ndarray:
        return np.arange(len(inputs), dtype=np.float32)


@dataclass
class FakeRegistry:
    """Two aliases and their rankers; an error in place of a version or ranker is raised."""

    champion: str | ModelError | None = None
    rankers: Mapping[str, FakeRanker | ModelError] = field(default_factory=dict)
    loads: int = 0
    challenger: str | None = None

    def aliases(self) -> dict[str, str]:
        named = {"champion": _or_raise(self.champion), "challenger": self.challenger}
        return {alias: version for alias, version in named.items() if version is not None}

    def load(self, version: str) -> FakeRanker:
        self.loads += 1
        return _or_raise(self.rankers[version])


def _or_raise(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


@dataclass
class FakeLedger:
    """Returns a fixed usage, refuses the given claims, and records its calls."""

    stored: Usage = field(default_factory=Usage)
    refused: Mapping[str, str] = field(default_factory=dict)
    broken: bool = False
    reads: list[tuple] = field(default_factory=list)
    claims: list[list[Claim]] = field(default_factory=list)
    redeemed: dict[str, Redemption] = field(default_factory=dict)
    taken_back: dict[str, bool] = field(default_factory=dict)
    holders: list[str | None] = field(default_factory=list)
    name: str = "first"

    def usage(self, user_id: str, since: int, until: int, holder: str | None = None) -> Usage:
        self._require_working()
        self.holders.append(holder)
        self.reads.append((user_id, since, until))
        return self.stored

    def claim(
        self, user_id: str, claims: Sequence[Claim], at: int, holder: str | None = None
    ) -> dict[str, str]:
        self._require_working()
        self.holders.append(holder)
        self.claims.append(list(claims))
        ids = {claim.coupon_id for claim in claims}
        return {one: rule for one, rule in self.refused.items() if one in ids}

    def redeem(self, redemptions: Sequence[Redemption], corrects: bool = True) -> None:
        self._require_working()
        for one in redemptions:
            if corrects or one.redemption_id not in self.redeemed:
                self.redeemed[one.redemption_id] = one

    def take_back(self, redemption_ids: Sequence[str], keeps_use: bool = False) -> None:
        self._require_working()
        self.taken_back |= dict.fromkeys(redemption_ids, keeps_use)

    def identity(self) -> str:
        self._require_working()
        return self.name

    def empty(self) -> None:
        """Loses all redemptions, as a Redis that restarts without persistence does."""
        self.redeemed.clear()
        self.name += "'"

    def _require_working(self) -> None:
        if self.broken:
            raise StorageFailed("The ledger could not be used.")
