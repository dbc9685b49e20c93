"""One competitor in its own process: ``python -m tests.benchmarks.point_in_time_runs SPEC``.

SPEC is JSON with the fields of ``Work``. Imports, entity rows and stores are set up first; only the
query is timed. The file ``answer`` gets its seconds, the peak resident memory of the process, and a
digest of the result.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import timed
from tests.benchmarks.point_in_time_data import USERS, VIEWS, entities_path


@dataclass(frozen=True)
class Work:
    """One join of a competitor, over ``rows`` entity rows and ``snapshots`` snapshots.

    ``result`` is ``arrow``, ``pandas`` or ``file`` (Parquet on disk). For ``file`` the entity rows
    also come from a file, otherwise from a data frame.
    """

    competitor: str
    rows: int
    snapshots: int
    result: str
    data: str
    folder: str
    threads: int
    memory_limit: str
    answer: str = ""

    @property
    def entities(self) -> Path:
        return entities_path(Path(self.data), self.rows)

    @property
    def written(self) -> Path:
        return Path(self.answer).with_name("joined.parquet")


def repository_of(work: Work) -> Path:
    name = work.competitor.split(",")[0].replace(" ", "-")
    name += f"-{work.memory_limit}" if work.competitor == "ours" else ""
    return Path(work.folder) / f"snapshots-{work.snapshots}" / name


def feast_sdk(work: Work) -> Callable[[], Any]:
    """The Feast SDK with our store or one of Feast's; only feature_store.yaml differs."""
    from feast import FeatureStore

    from tests.benchmarks.feast_repositories import FEATURES

    store = FeatureStore(repo_path=str(repository_of(work)))
    store.provider  # noqa: B018 - opened before the clock starts
    if work.result == "file":
        rows = f"SELECT * FROM read_parquet('{work.entities}')"
        return lambda: store.get_historical_features(rows, FEATURES).to_parquet(str(work.written))
    rows = _entity_rows(work)
    if work.result == "pandas":
        return lambda: store.get_historical_features(rows, FEATURES).to_df()
    return lambda: store.get_historical_features(rows, FEATURES).to_arrow()


def feast_spilling(work: Work) -> Callable[[], Any]:
    """Feast's DuckDB store on a DuckDB with a memory limit; Feast has no setting for one."""
    import ibis

    ibis.set_backend(ibis.duckdb.connect(memory_limit=work.memory_limit))
    return feast_sdk(work)


def floor(work: Work, ordered: bool = False) -> Callable[[], Any]:
    """Bare DuckDB."""
    import duckdb  # noqa: F401 - an import is not the query

    from tests.benchmarks.floors import as_of_join

    views = [
        (view.path(Path(work.data), work.snapshots), view.key, view.features) for view in VIEWS
    ]
    rows = work.entities if work.result == "file" else _entity_rows(work)
    spill = Path(work.folder) / "spill"

    def query():
        joined = as_of_join(views, rows, work.threads, work.memory_limit, spill, ordered)
        if work.result == "file":
            return joined.write_parquet(str(work.written))
        table = joined.to_arrow_table()
        return table.to_pandas() if work.result == "pandas" else table

    return query


def floor_in_order(work: Work) -> Callable[[], Any]:
    """Bare DuckDB, with the result sorted in the order of the entity rows."""
    return floor(work, ordered=True)


def merge_asof(work: Work) -> Callable[[], Any]:
    """pandas: reads the files, sorts, one ``merge_asof`` per view, restores the order."""
    import numpy as np
    import pandas as pd

    entities = _entity_rows(work)

    def query():
        order = np.argsort(entities["event_timestamp"].to_numpy(), kind="stable")
        joined = entities.iloc[order]
        for view in VIEWS:
            columns = [view.key, "event_timestamp", *view.features]
            features = pd.read_parquet(view.path(Path(work.data), work.snapshots), columns=columns)
            joined = pd.merge_asof(
                joined,
                features.sort_values("event_timestamp"),
                on="event_timestamp",
                by=view.key,
                allow_exact_matches=False,
            )
        # merge_asof renumbers the rows: row i is the i-th in time.
        joined.index = order
        return joined.sort_index()

    return query


COMPETITORS = {
    "ours": feast_sdk,
    "feast dask": feast_sdk,
    "feast duckdb": feast_sdk,
    "feast duckdb, spilling": feast_spilling,
    "floor": floor,
    "floor in order": floor_in_order,
    "pandas merge_asof": merge_asof,
}


def _entity_rows(work: Work):
    import pandas as pd

    return pd.read_parquet(work.entities)


def digest(work: Work, result) -> dict:
    """Returns values that all competitors must share: rows, sums, position-weighted sums."""
    import numpy as np
    import pyarrow.compute as pc

    if work.result == "file":
        return _digest_of_file(work)
    values = [np.asarray(result[view.features[0]]) for view in VIEWS]
    vectors = result[USERS.vector]
    if work.result == "arrow":
        total = pc.sum(pc.list_flatten(vectors)).as_py()
    else:
        total = np.concatenate(vectors.to_list()).sum()
    return {
        "rows": len(values[0]),
        "sums": [float(np.nansum(one)) for one in values],
        "vectors": float(total),
        "order": float(np.nansum(values[0] * np.arange(len(values[0])))),
    }


def _digest_of_file(work: Work) -> dict:
    import duckdb

    firsts = ", ".join(f"sum({view.features[0]})" for view in VIEWS)
    rows, *sums, vectors, order = duckdb.execute(
        f"SELECT count(*), {firsts}, sum(list_sum({USERS.vector})), "
        f"sum({USERS.features[0]} * file_row_number) "
        f"FROM read_parquet('{work.written}', file_row_number = true)"
    ).fetchone()
    work.written.unlink()
    return {"rows": rows, "sums": sums, "vectors": vectors, "order": order}


def prepare(works: list[Work]) -> None:
    """Writes and applies the repositories of Feast's stores and ours, before the timing."""
    from feast import FeatureStore

    from tests.benchmarks.feast_repositories import definitions, write_repository

    for work in works:
        offline: dict = {"type": work.competitor.removeprefix("feast ")}
        if work.competitor == "ours":
            offline = {
                "type": "feature_repo.point_in_time.PointInTimeOfflineStore",
                "home": str(Path(work.folder) / "home"),
                "threads": work.threads,
                "memory_limit": work.memory_limit,
            }
        write_repository(repository_of(work), offline)
        if not (repository_of(work).parent / "registry.db").exists():
            store = FeatureStore(repo_path=str(repository_of(work)))
            store.apply(definitions(Path(work.data), VIEWS, work.snapshots))


def main(spec: dict) -> None:
    if "prepare" in spec:
        return prepare([Work(**one) for one in spec["prepare"]])
    work = Work(**spec)
    answer = Path(work.answer)
    result, spent = timed(COMPETITORS[work.competitor](work), answer.parent)
    answer.write_text(json.dumps(spent | digest(work, result)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    # Skips the exit handlers of libraries, which are not part of the work and may block.
    os._exit(0)
