"""The two online stores for tests: opened with our guards or with Feast's own classes, and read.

A store that is "ours" has our online store and engine. A "plain" one has Feast's over the same
data.
"""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.feature_logs import moment

ENGINE = {"type": "feature_repo.materialization.IncrementalComputeEngine"}
GUARDED = {
    "sqlite": "feature_repo.online_store.GuardedSqliteOnlineStore",
    "redis": "feature_repo.online_store.GuardedRedisOnlineStore",
}


@contextmanager
def redis_server(*settings: str) -> Iterator[str]:
    """Starts a Redis on a free port, yields its address, and stops it by its process id."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed, so Redis is not tested")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen([*command, *settings], stdout=subprocess.DEVNULL)
    try:
        yield _wait_for(port, process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(port: int, process: subprocess.Popen) -> str:
    for _ in range(200):
        assert process.poll() is None, "redis-server ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return f"127.0.0.1:{port}"
        time.sleep(0.05)
    raise AssertionError("redis-server did not answer within ten seconds")


def place_of(kind: str, folder: Path, request) -> dict:
    """Returns a store's address settings: a file, or the address of the fixture's Redis."""
    if kind == "sqlite":
        return {"path": f"{folder}/online.db"}
    return {"connection_string": request.getfixturevalue("redis_address")}


def opened(kind: str, home: Path, place: dict, ours: bool = True, objects=None, **settings):
    """Opens a Feast store over an online store and applies ``objects`` (default: our definitions).

    ``settings`` are further settings of the online store.
    """
    from feast import FeatureStore, RepoConfig

    store = FeatureStore(
        config=RepoConfig(
            project="clipwise",
            provider="local",
            registry=f"{home}/{'ours' if ours else 'plain'}.db",
            offline_store={
                "type": "feature_repo.point_in_time.PointInTimeOfflineStore",
                "home": str(home),
            },
            online_store={"type": GUARDED[kind] if ours else kind} | place | settings,
            batch_engine=ENGINE if ours else {"type": "local"},
            entity_key_serialization_version=3,
            repo_path=str(home),
        )
    )
    store.apply(definitions() if objects is None else objects)
    return store


def definitions() -> list:
    from feature_repo import definitions

    return [getattr(definitions, name) for name in definitions.__all__]


def redis_of(store):
    """Returns the Redis client of a store."""
    from feature_repo.feast_internals import redis_client

    return redis_client(store.provider.online_store, store.config)


def sqlite_of(store):
    """Returns the SQLite connection of a store."""
    return store.provider.online_store._get_conn(store.config)


def empty(store) -> None:
    """Removes all rows from an online store."""
    if store.config.online_store.type in ("redis", GUARDED["redis"]):
        redis_of(store).flushall()
        return
    connection = sqlite_of(store)
    for view in store.list_feature_views():
        connection.execute(f'DELETE FROM "{store.project}_{view.name}"')
    connection.commit()


def written(store, view: str) -> int:
    """Returns the number of rows that the last materialization changed."""
    from feature_repo.online.materialize.engine import rows_written

    return rows_written(store, view)


def refs_of(store, key: str) -> list[str]:
    views = [v for v in store.list_feature_views() if v.entity_columns[0].name == key]
    return [f"{view.name}:{field.name}" for view in views for field in view.features]


def online(store, key: str, ids, refs) -> dict:
    found = store.get_online_features(refs, [{key: one} for one in ids]).to_dict()
    return {name: [_plain(value) for value in values] for name, values in found.items()}


def read_alone(store, key: str, ids, refs) -> dict:
    """Reads the same as ``online`` by the service's reader, which reads one entity a request."""
    from feature_repo.online.entity_reader import entity_reader

    features: dict[str, list[str]] = {}
    for view, feature in (ref.split(":") for ref in refs):
        features.setdefault(view, []).append(feature)

    async def read() -> list:
        reader = entity_reader(store, key, features)
        try:
            return [await reader.read(one) for one in ids]
        finally:
            await reader.close()

    rows = asyncio.run(read())
    columns = {name: [_listed(row[name]) for row in rows] for name in rows[0]}
    return {key: list(ids)} | columns


def _listed(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


def offline(store, key: str, ids, refs, t: int) -> dict:
    entities = pd.DataFrame({key: ids, "event_timestamp": [moment(t)] * len(ids)})
    found = store.get_historical_features(entities, refs).to_arrow()
    columns = found.drop_columns(["event_timestamp"]).to_pydict()
    return {name: [_plain(value) for value in values] for name, values in columns.items()}


def _plain(value):
    """Returns None for an empty list: some versions of Feast return one for a missing list."""
    return list(value) or None if isinstance(value, (list, tuple)) else value
