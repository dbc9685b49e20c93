"""One materialization in its own process: Feast's, ours, or the plain writes of the floor."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import timed
from tests.benchmarks.point_in_time_data import VECTOR, YEAR, materialized

SAMPLE = 100
STORES = {
    "sqlite": "feature_repo.online_store.GuardedSqliteOnlineStore",
    "redis": "feature_repo.online_store.GuardedRedisOnlineStore",
}


@dataclass(frozen=True)
class Work:
    """One materialization. ``port`` is the Redis server's."""

    competitor: str
    store: str
    entities: int
    data: Path
    folder: Path
    port: int

    def online(self, store_type: str) -> dict:
        if self.store == "sqlite":
            return {"type": store_type, "path": str(self.folder / "online.db")}
        return {"type": store_type, "connection_string": f"localhost:{self.port}"}


def feast(work: Work) -> Callable[[], Any]:
    """Feast alone: its DuckDB store, its online store and its local engine, unchanged."""
    return _materialize(work, {"type": "duckdb"}, work.online(work.store), None)


def ours(work: Work) -> Callable[[], Any]:
    """Our offline store, guarded online store and engine."""
    home = str(work.folder / "home")
    offline = {"type": "feature_repo.point_in_time.PointInTimeOfflineStore", "home": home}
    engine = {"type": "feature_repo.materialization.IncrementalComputeEngine"}
    return _materialize(work, offline, work.online(STORES[work.store]), engine)


def _materialize(work: Work, offline: dict, online: dict, engine: dict | None):
    from feast import FeatureStore

    from tests.benchmarks.feast_repositories import definitions, write_repository

    repository = work.folder / "feast" / "writing"
    write_repository(repository, offline, online, engine)
    store = FeatureStore(repo_path=str(repository))
    store.apply(definitions(work.data, [materialized(work.entities)], 1))
    store.provider.batch_engine  # noqa: B018 - its import is not the materialization
    return lambda: store.materialize(YEAR - timedelta(days=1), YEAR + timedelta(days=1))


def floor(work: Work) -> Callable[[], Any]:
    """Plain writes of serialized values."""
    from tests.benchmarks import floors

    shape = (work.entities, materialized(work.entities).floats, VECTOR)
    if work.store == "redis":
        rows = floors.redis_rows(*shape)
        return lambda: floors.write_redis(work.port, rows)
    rows = floors.sqlite_rows(*shape)
    return lambda: floors.write_sqlite(work.folder / "floor.db", rows)


COMPETITORS = {"feast": feast, "ours": ours, "floor": floor}


class Unreadable(Exception):
    """Plain Feast does not read the materialized values online."""


def check_online(work: Work) -> dict:
    """Reads a sample of entities with plain Feast; raises Unreadable if values differ."""
    import numpy as np
    import pandas as pd
    from feast import FeatureStore

    from tests.benchmarks.feast_repositories import write_repository

    view = materialized(work.entities)
    repository = work.folder / "feast" / "reading"
    write_repository(repository, {"type": "duckdb"}, work.online(work.store))
    rows = pd.read_parquet(view.path(work.data, 1)).iloc[:: max(1, work.entities // SAMPLE)]
    features = [f"{view.name}:{name}" for name in view.features]
    store = FeatureStore(repo_path=str(repository))
    found = store.get_online_features(features, rows[[view.key]].to_dict("records")).to_dict()
    for name in view.features:
        expected = np.array(rows[name].to_list())
        if not np.array_equal(expected, np.array(found[name])):
            raise Unreadable(f"Expected {name} of {len(rows)} entities as in the file; it differs.")
    return {"rows": len(rows)}


def main(spec: dict) -> None:
    answer = Path(spec.pop("answer"))
    work = Work(**(spec | {"data": Path(spec["data"]), "folder": answer.parent}))
    if work.store == "redis":
        import redis

        redis.Redis(port=work.port).flushall()
    _, spent = timed(COMPETITORS[work.competitor](work), answer.parent)
    checked = {} if work.competitor == "floor" else check_online(work)
    answer.write_text(json.dumps(spent | checked))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    # Skips the exit handlers of libraries, which are not part of the work and may block.
    os._exit(0)
