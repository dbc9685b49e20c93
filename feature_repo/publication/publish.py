"""Publication of features: the change rows of all views for one state of the lake.

The rows depend on the state alone. So they are built once, stored beside the lake, and can be
deleted and built again. A build is atomic: its folder appears when all views are written.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.contract import TABLES
from feature_repo.files import locked
from feature_repo.lake.duckdb_files import connect, literal
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.publication.queries import (
    CreateTable,
    DropTables,
    WriteView,
    raw_columns,
    view_queries,
)

log = logging.getLogger(__name__)

LAST = 253_370_764_800_000_000
"""The first instant of the year 9999, in microseconds. No later row is published."""

FORMAT = 7
"""The format of published rows. Raise it when they change for the same state: they are rebuilt."""


def published(lake: Lake, state: State, progress: Callable[[str], None] | None = None) -> Path:
    """Returns the folder with the change rows of all views for a state, built if missing."""
    folder = published_folder(lake, state.number)
    if folder.is_dir():
        return folder
    root = folder.parent
    with _build_lock(root):
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


def published_folder(lake: Lake, number: int) -> Path:
    """Returns the path of the change rows of a numbered state; they may not be built."""
    return lake.home / "features" / f"{number:06d}-format-{FORMAT}"


@contextmanager
def _build_lock(root: Path) -> Iterator[None]:
    """Holds the lock of the build; other processes wait. Deletes the files of a killed build."""
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / "build.lock"):
        for left in (*root.glob("*.draft"), *root.glob("spill")):
            shutil.rmtree(left, ignore_errors=True)
        yield


class Engine:
    """DuckDB on one state of the lake, which runs ``view_queries``."""

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
        """Writes all views to a folder; yields the name of each after it is written."""
        for step in view_queries():
            if isinstance(step, CreateTable):
                self.connection.execute(f"CREATE TEMP TABLE {step.name} AS {step.query}")
            elif isinstance(step, DropTables):
                for name in step.names:
                    self.connection.execute(f"DROP TABLE {name}")
            else:
                self._write(step, folder)
                yield step.name

    def _write(self, view: WriteView, folder: Path) -> None:
        """Writes a view's change rows, and its entries in the order of their users.

        Rows after the watermark are written too: expiries that follow from the state of the lake.
        Materializations end at the watermark.
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
        self.connection.execute(
            f"COPY ({query}) TO {literal(path)} (FORMAT parquet, COMPRESSION zstd)"
        )
