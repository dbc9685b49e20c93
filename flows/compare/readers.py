"""Readers of the features to compare: the offline store on a lake version, and the online store."""

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
from flows.compare.differences import Column, FeatureRows

KINDS = {"user": (USER, "users"), "product": (PRODUCT, "products"), "coupon": (COUPON, "coupons")}
"""Each kind of entity: its join key, and the raw table that lists its ids."""


@dataclass(frozen=True)
class View:
    """A feature view to compare: its kind of entity, its features, and the instant of the read."""

    name: str
    kind: str
    features: tuple[str, ...]
    as_of: datetime


class FeatureReader(Protocol):
    """Reads the features of entities from one store."""

    name: str

    def list_ids(self, kind: str) -> set[str]:
        """Lists the ids of a kind. Empty if the store cannot list ids."""

    def read(self, ids: Sequence[str], views: Sequence[View]) -> FeatureRows:
        """Reads these views for entities of one kind; all views must be of that kind."""


class OfflineReader:
    """Reads the offline store on one version of the lake."""

    def __init__(self, name: str, store: Any, lake: Lake, state: State, as_of: datetime) -> None:
        self.name, self._lake, self._state, self._as_of = name, lake, state, as_of
        self._store = store
        self._store.config.offline_store.lake_version = state.number
        self._cached_ids = cache(self._read_ids)

    def list_ids(self, kind: str) -> set[str]:
        """Lists the ids of a kind that the raw table has before the instant of the comparison."""
        return self._cached_ids(kind)

    def _read_ids(self, kind: str) -> set[str]:
        return set(self._lake.known_ids(KINDS[kind][1], self._state, self._as_of))

    def read(self, ids: Sequence[str], views: Sequence[View]) -> FeatureRows:
        """Reads each view as of its own instant, by one point-in-time join for each instant."""
        import pandas as pd

        kind = views[0].kind
        found: dict[Column, Sequence[Any]] = {}
        for as_of in sorted({view.as_of for view in views}):
            here = [view for view in views if view.as_of == as_of]
            entities = {KINDS[kind][0]: ids, "event_timestamp": pd.Timestamp(as_of)}
            table = self._store.get_historical_features(
                pd.DataFrame(entities), _references(here), full_feature_names=True
            ).to_arrow()
            found |= {(v, f): table[f"{v}__{f}"].to_pylist() for v, f in _columns(here)}
        return FeatureRows([one in self.list_ids(kind) for one in ids], found)


class OnlineReader:
    """Reads the online store, which cannot list its ids."""

    name = "online"

    def __init__(self, store: Any) -> None:
        self._store = store

    def list_ids(self, kind: str) -> set[str]:
        """Returns an empty set."""
        return set()

    def read(self, ids: Sequence[str], views: Sequence[View]) -> FeatureRows:
        """Reads the newest online row of every view."""
        rows = [{KINDS[views[0].kind][0]: one} for one in ids]
        found = self._store.get_online_features(
            _references(views), rows, full_feature_names=True
        ).to_dict(include_event_timestamps=True)
        columns = _columns(views)
        # For a missing entity Feast returns nulls with the timestamp 0.
        written = zip(*(found[f"{view}__{feature}__ts"] for view, feature in columns), strict=True)
        values = {(view, feature): found[f"{view}__{feature}"] for view, feature in columns}
        return FeatureRows([any(instants) or None for instants in written], values)


def ids_in_changed_files(lake: Lake, left: State, right: State, kind: str) -> set[str]:
    """Returns the ids of a kind in the files, of any table, that only one of two versions has."""
    key = KINDS[kind][0]
    found: set[str] = set()
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
