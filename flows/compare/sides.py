"""Who answers when features are compared: history in one lake version, and the online store."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Protocol

from feature_repo.contract import TABLES
from feature_repo.lake.duckdb_files import parquet, query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.names import COUPON, PRODUCT, USER
from flows.compare.differences import Answer, Column

KINDS = {"user": (USER, "users"), "product": (PRODUCT, "products"), "coupon": (COUPON, "coupons")}
"""The kinds of entities: the join key, and the table that makes one known."""


@dataclass(frozen=True)
class View:
    """A feature view as it is compared: of which kind of entity, with what, as of when."""

    name: str
    kind: str
    features: tuple[str, ...]
    as_of: datetime


class Side(Protocol):
    """One of the two that answer."""

    name: str

    def known(self, kind: str) -> set[str]:
        """The ids of a kind that can be listed."""

    def answer(self, ids: Sequence[str], views: Sequence[View]) -> Answer:
        """What is known of entities of the one kind that the views describe."""


class History:
    """The offline store over one version of the lake."""

    def __init__(self, name: str, store: Any, lake: Lake, state: State, as_of: datetime):
        self.name, self._lake, self._state, self._as_of = name, lake, state, as_of
        self._store = store
        self._store.config.offline_store.lake_version = state.number
        self.known = cache(self._known)

    def _known(self, kind: str) -> set[str]:
        return set(self._lake.known_ids(KINDS[kind][1], self._state, self._as_of))

    def answer(self, ids: Sequence[str], views: Sequence[View]) -> Answer:
        import pandas as pd

        kind, found = views[0].kind, {}
        for moment in sorted({view.as_of for view in views}):
            here = [view for view in views if view.as_of == moment]
            entities = {KINDS[kind][0]: ids, "event_timestamp": pd.Timestamp(moment)}
            table = self._store.get_historical_features(
                pd.DataFrame(entities), _references(here), full_feature_names=True
            ).to_arrow()
            found |= {(v, f): table[f"{v}__{f}"].to_pylist() for v, f in _columns(here)}
        return Answer([one in self.known(kind) for one in ids], found)


class Online:
    """The online store; it answers for ids and cannot list them."""

    name = "online"

    def __init__(self, store: Any):
        self._store = store

    def known(self, kind: str) -> set[str]:
        return set()

    def answer(self, ids: Sequence[str], views: Sequence[View]) -> Answer:
        rows = [{KINDS[views[0].kind][0]: one} for one in ids]
        found = self._store.get_online_features(
            _references(views), rows, full_feature_names=True
        ).to_dict(include_event_timestamps=True)
        columns = _columns(views)
        # Feast answers for an entity that is not there with nulls of the instant 0.
        written = zip(*(found[f"{view}__{feature}__ts"] for view, feature in columns), strict=True)
        values = {(view, feature): found[f"{view}__{feature}"] for view, feature in columns}
        return Answer([any(instants) or None for instants in written], values)


def touched(lake: Lake, left: State, right: State, kind: str) -> set[str]:
    """The ids of a kind in the rows, of any table, that one of two lake versions alone has."""
    key, found = KINDS[kind][0], set()
    for name, table in TABLES.items():
        files = set(lake.files(name, left)) ^ set(lake.files(name, right))
        if key in table.column_names and files:
            rows = query(f"SELECT DISTINCT {key} FROM {parquet(sorted(files))}")
            found |= set(rows[key].to_pylist())
    return found


def _columns(views: Sequence[View]) -> list[Column]:
    return [(view.name, feature) for view in views for feature in view.features]


def _references(views: Sequence[View]) -> list[str]:
    return [f"{view}:{feature}" for view, feature in _columns(views)]
