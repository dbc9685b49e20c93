"""Columns of any name, those of our own queries included, in joins and materializations.

The repository is another one than ours: its names are drawn anew for each example.
"""

from datetime import UTC, datetime, timedelta
from functools import cache

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

T0 = datetime(2024, 3, 1, 12, tzinfo=UTC)
MICRO = timedelta(microseconds=1)
TYPES = {"key": pa.int64(), "value": pa.int64(), "time": pa.timestamp("us", "UTC")}


@cache
def configuration(home):
    from feast import RepoConfig

    return RepoConfig(
        project="names",
        provider="local",
        registry=str(home / "registry.db"),
        offline_store={"type": "feature_repo.point_in_time.PointInTimeOfflineStore"},
        online_store={
            "type": "feature_repo.online_store.GuardedSqliteOnlineStore",
            "path": str(home / "online.db"),
        },
        batch_engine={"type": "feature_repo.materialization.IncrementalComputeEngine"},
        entity_key_serialization_version=3,
        repo_path=str(home),
    )


def store_of(home, names: dict, rows: list[tuple], **source):
    """Opens a repository with one view; ``names``: two keys, two features, and two instants."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Int64

    kinds = ["key", "key", "value", "value", "time", "time"]
    columns = zip(*rows, strict=True) if rows else [[]] * 6
    pq.write_table(
        pa.table(
            [pa.array(list(c), TYPES[k]) for c, k in zip(columns, kinds, strict=True)],
            names=list(names.values()),
        ),
        home / "rows.parquet",
    )
    entities = [
        Entity(name=f"entity {key}", join_keys=[names[key]], value_type=ValueType.INT64)
        for key in ("first", "second")
    ]
    view = FeatureView(
        name="view",
        entities=entities,
        ttl=timedelta(days=36_500),
        schema=[
            Field(name=names[name], dtype=Int64) for name in ("first", "second", "value", "other")
        ],
        source=FileSource(
            name="rows",
            path=str(home / "rows.parquet"),
            timestamp_field=names["happened"],
            created_timestamp_column=names["learned"],
            **source,
        ),
    )
    store = FeatureStore(config=configuration(home))
    store.apply([*entities, view])
    return store


PLAIN = dict(
    zip(
        ("first", "second", "value", "other", "happened", "learned"),
        ("a", "b", "value", "other", "event_timestamp", "created"),
        strict=True,
    )
)
ROWS = [
    # first, second, value, other, happened, learned
    (1, 2, 12, 120, T0, T0),
    (2, 1, 21, 210, T0, T0),
    (1, 2, 13, 130, T0 + timedelta(hours=1), T0 + timedelta(hours=2)),
]


def values(store, frame: pd.DataFrame, names: dict) -> list:
    refs = [f"view:{names['value']}", f"view:{names['other']}"]
    found = store.get_historical_features(frame, refs).to_arrow()
    assert [str(name) for name in frame.columns] == found.column_names[:-2]
    return list(
        zip(found[names["value"]].to_pylist(), found[names["other"]].to_pylist(), strict=True)
    )


@pytest.mark.parametrize("extra", ["_row", "_at", "_id", "e0", "k0", "_from", "A", "entities"])
def test_entity_rows_may_have_a_column_of_any_name(tmp_path, extra):
    store = store_of(tmp_path, PLAIN, ROWS)
    frame = pd.DataFrame({"a": [1, 2, 1], "b": [2, 1, 2], "event_timestamp": [T0 + MICRO] * 3})
    frame[extra] = [2, 0, 1] if extra != "_at" else [T0 + timedelta(days=9)] * 3
    assert values(store, frame, PLAIN) == [(12, 120), (21, 210), (12, 120)]


@pytest.mark.parametrize("keys", [("k1", "k0"), ("_id", "_row"), ("K", "k"), ("_at", "_event")])
def test_join_keys_may_have_any_names(tmp_path, keys):
    names = PLAIN | {"first": keys[0], "second": keys[1]}
    store = store_of(tmp_path, names, ROWS)
    frame = pd.DataFrame(
        {keys[0]: [1, 2, 2], keys[1]: [2, 1, 2], "event_timestamp": [T0 + MICRO] * 3}
    )
    assert values(store, frame, names) == [(12, 120), (21, 210), (None, None)]


OURS = [
    *("_row", "_at", "_id", "_place", "_event", "_from", "_learned", "e0", "e1", "k0", "k1", "k2"),
    *("c0", "c1", "f", "m", "i", "e", "f0", "ids_f0", "entities", "newest", "removed", "_removed"),
    *("file_name", "filename", "__dummy", "at", "user_id", "row_number", "n", "n_1", "trips_1"),
]
ODD = [
    '5" nails',
    "it's",
    "a b",
    "a.b",
    "a,b",
    "x;--",
    "select",
    "é",
    "É",
    "ключ",
    "名",
    "%s",
    "{}",
]
NAME = st.sampled_from(OURS) | st.sampled_from(ODD) | st.text("aAbB_1\"' é", min_size=1, max_size=4)
NAMES = st.lists(NAME.filter(str.strip), min_size=8, max_size=8, unique=True)
HOUR = st.integers(0, 3).map(lambda hours: T0 + timedelta(hours=hours))
FACT = st.tuples(*[st.integers(1, 2)] * 2, *[st.integers(0, 9)] * 2, HOUR, st.none() | HOUR)
ASKED = st.tuples(st.integers(1, 2), st.integers(1, 2), HOUR, st.integers(0, 3), HOUR)


def known(rows: list[tuple], first: int, second: int, at: datetime):
    """The features by definition: of the newest row that happened and was learned before."""
    seen = [
        (happened, learned or happened, value, other)
        for *keys, value, other, happened, learned in rows
        if keys == [first, second] and max(happened, learned or happened) < at
    ]
    return max(seen)[2:] if seen else (None, None)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=NAMES, rows=st.lists(FACT, max_size=8), asked=st.lists(ASKED, min_size=1, max_size=8))
def test_results_do_not_depend_on_the_names(tmp_path_factory, drawn, rows, asked):
    home = tmp_path_factory.mktemp("names")
    names = dict(zip(PLAIN, drawn[:6], strict=True))
    store = store_of(home, names, rows)
    frame = pd.DataFrame(asked, columns=[drawn[0], drawn[1], "event_timestamp", *drawn[6:]])
    expected = [known(rows, first, second, at) for first, second, at, *_ in asked]
    assert values(store, frame, names) == expected
    store.materialize(T0 - timedelta(days=1), T0 + timedelta(hours=2), ["view"])
    keys = [{drawn[0]: first, drawn[1]: second} for first in (1, 2) for second in (1, 2)]
    online = store.get_online_features([f"view:{drawn[2]}", f"view:{drawn[3]}"], keys).to_dict()
    assert list(zip(online[drawn[2]], online[drawn[3]], strict=True)) == [
        known(rows, *key.values(), T0 + timedelta(hours=2)) for key in keys
    ]
