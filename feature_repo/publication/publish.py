"""Publishing features: the change rows of every view for one state of the lake.

The rows are derived from the state alone, so they are built once, kept beside the lake, and can
be dropped and built again. A build appears whole or not at all.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.contract import TABLES
from feature_repo.lake.duckdb_files import connect
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.publication.queries import Forget, Keep, View, raw_columns, view_queries

log = logging.getLogger(__name__)

LAST = 253_370_764_800_000_000
"""The first instant of the year 9999, in microseconds: no row is published from there on."""

FORMAT = 5
"""A new number where the rows published for the same state change: they are built anew."""


def published(lake: Lake, state: State, progress: Callable[[str], None] | None = None) -> Path:
    """The folder with the change rows of every view for a state; built if it is not there."""
    root = lake.home / "features"
    folder = root / f"{state.number:06d}-format-{FORMAT}"
    if folder.is_dir():
        return folder
    with _building(root):
        if not folder.is_dir():
            draft = root / f"{folder.name}.draft"
            draft.mkdir()
            with Engine(lake, state) as engine:
                for name in engine.write(draft):
                    log.info("published %s for lake version %d", name, state.number)
                    if progress:
                        progress(name)
            os.rename(draft, folder)
    return folder


@contextmanager
def _building(root: Path) -> Iterator[None]:
    """One build at a time: another process waits. What a killed one left behind goes."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "build.lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in (*root.glob("*.draft"), *root.glob("spill")):
            shutil.rmtree(left, ignore_errors=True)
        yield


class Engine:
    """DuckDB on one state of the lake, running ``view_queries``."""

    def __init__(self, lake: Lake, state: State, threads: int = 2, memory: str = "2GB"):
        self.spill = lake.home / "features" / "spill"
        self.connection = connect(self.spill)
        for setting, value in (
            ("threads", threads),
            ("memory_limit", f"'{memory}'"),
            ("preserve_insertion_order", "false"),
        ):
            self.connection.execute(f"SET {setting} = {value}")
        for name in TABLES:
            columns = ", ".join(f"{sql} AS {c}" for c, (sql, _) in raw_columns(name).items())
            scan = lake.scan(name, state)
            self.connection.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM ({scan})")

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.connection.close()
        shutil.rmtree(self.spill, ignore_errors=True)

    def write(self, folder: Path) -> Iterator[str]:
        """Write every view to a folder, and name each when it is there."""
        for step in view_queries():
            if isinstance(step, Keep):
                self.connection.execute(f"CREATE TEMP TABLE {step.name} AS {step.query}")
            elif isinstance(step, Forget):
                for name in step.names:
                    self.connection.execute(f"DROP TABLE {name}")
            else:
                self._write(step, folder)
                yield step.name

    def _write(self, view: View, folder: Path) -> None:
        """Write a view's change rows, entries in the order of their users.

        What expires after the watermark is known already, so those rows are there too: history is
        right at any instant, as far as the lake's state knows. Materializations end before it.
        """
        stamped = (
            'SELECT * EXCLUDE ("at"), make_timestamptz("at") AS event_timestamp, '
            f'make_timestamptz("at") AS created_timestamp FROM ({view.rows}) WHERE "at" < {LAST}'
        )
        self._copy(stamped, folder / f"{view.name}.parquet")
        if view.entries is not None:
            self._copy(
                f'SELECT * FROM ({view.entries}) WHERE "first" < {LAST} ORDER BY user_id, "first"',
                folder / f"{view.name}.entries.parquet",
            )

    def _copy(self, query: str, path: Path) -> None:
        quoted = str(path).replace("'", "''")
        self.connection.execute(f"COPY ({query}) TO '{quoted}' (FORMAT parquet, COMPRESSION zstd)")
