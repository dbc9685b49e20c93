"""Publishing features: the change rows of every view for one state of the lake.

The rows are derived from the state alone, so they are built once, kept beside the lake, and can
be dropped and built again. A build appears whole or not at all.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from feature_repo.contract import TABLES
from feature_repo.lake import Lake, State, connect

log = logging.getLogger(__name__)

ASSEMBLED = {"user_purchase_history": "history", "user_recent_purchases": "recent"}
"""Views whose rows are put together from entries when they are read, and their fields' prefix."""


WANTED_COLUMNS = {"user_id": "string", "at": "int64"}
ENTRY_COLUMNS = {
    "user_id": "string",
    "kind": "string",
    "id": "string",
    "count": "int64",
    "weight": "float64",
    "uses": "int64",
    "last": "int64",
    "until": "int64",
    "first": "int64",
}
"""The columns of an assembled view's entries; they stand in rows from ``first`` to ``until``."""

LAST = 253_370_764_800_000_000
"""The first instant of the year 9999, in microseconds: no row is published from there on."""

FORMAT = 3
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
                for name, rows in engine.views():
                    engine.write(name, rows, draft)
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


@dataclass(frozen=True)
class Rows:
    """What is written of a view: its change rows and, for an assembled one, their entries."""

    table: object
    entries: object = None


class Engine:
    """The lake's tables as Ibis expressions on DuckDB, with instants as int64 microseconds."""

    def __init__(self, lake: Lake, state: State, threads: int = 2, memory: str = "2GB"):
        self.state = state
        self.stages: list[str] = []
        self.staged = 0
        self.spill = lake.home / "features" / "spill"
        self.connection = connect(self.spill)
        for setting, value in (
            ("threads", threads),
            ("memory_limit", f"'{memory}'"),
            ("preserve_insertion_order", "false"),
        ):
            self.connection.execute(f"SET {setting} = {value}")
        self.raw = {name: self._raw(lake, name) for name in TABLES}

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.connection.close()
        shutil.rmtree(self.spill, ignore_errors=True)

    def _raw(self, lake: Lake, name: str):
        import ibis

        names, selected = {}, []
        for column in TABLES[name].columns:
            moment = column.type == "timestamp"
            named = f"{column.name.removesuffix('_timestamp')}_us" if moment else column.name
            selected.append(f"epoch_us({column.name}) AS {named}" if moment else named)
            names[named] = {"timestamp": "int64", "bool": "boolean"}.get(column.type, column.type)
        scan = lake.scan(name, self.state)
        self.connection.execute(f"CREATE VIEW {name} AS SELECT {', '.join(selected)} FROM ({scan})")
        return ibis.table(names, name=name)

    def stage(self, table):
        """Keep an intermediate result that is used more than once."""
        import ibis

        self.staged += 1
        name = f"stage_{self.staged}"
        self.connection.execute(f"CREATE TEMP TABLE {name} AS {compiled(table)}")
        self.stages.append(name)
        return ibis.table(table.schema(), name=name)

    def forget(self, kept: int) -> None:
        """Drop all intermediate results but the first ``kept``: memory for the next view."""
        for name in self.stages[kept:]:
            self.connection.execute(f"DROP TABLE {name}")
        del self.stages[kept:]

    def views(self) -> Iterator[tuple[str, Rows]]:
        """Every view with its rows, in an order in which results can be shared."""
        from feature_repo.transforms import coupon, history, product, user

        raw, stage = self.raw, self.stage
        attributes = stage(product.attributes(raw["products"]))
        bought = stage(user.purchases(raw["events"]))
        yield from self._of(
            {
                "user_purchase_stats": lambda: user.purchase_stats(bought, raw["users"], stage),
                "user_redemption_stats": lambda: user.redemption_stats(
                    raw["redemptions"], raw["users"], stage
                ),
                "user_exposure_stats": lambda: user.exposure_stats(
                    raw["exposures"], raw["users"], stage
                ),
                "user_demographics": lambda: user.demographics(raw["users"]),
            },
        )
        yield from self._histories(stage(history.purchased(bought, attributes)))
        self.forget(kept=1)
        by_user = stage(product.daily(user.purchases(raw["events"]), ["product_id", "user_id"]))
        yield from self._of(
            {
                "product_details": lambda: product.details(raw["products"]),
                "product_sales_stats": lambda: product.sales_stats(by_user, raw["products"], stage),
            },
        )
        covered = stage(coupon.pairs(raw["coupon_products"], attributes))
        yield from self._of(
            {
                "coupon_details": lambda: coupon.details(raw["coupons"]),
                "coupon_scope": lambda: coupon.scope(covered, raw["coupons"], stage),
                "coupon_popularity_stats": lambda: coupon.popularity_stats(
                    by_user, covered, raw["coupons"], stage
                ),
                "coupon_redemption_stats": lambda: coupon.redemption_stats(
                    raw["redemptions"], raw["exposures"], raw["coupons"], stage
                ),
            },
        )

    def _histories(self, purchased) -> Iterator[tuple[str, Rows]]:
        from feature_repo.transforms import history

        for name, build in (
            ("user_purchase_history", history.history),
            ("user_recent_purchases", history.recent),
        ):
            kept = len(self.stages)
            rows, entries = build(purchased, self.stage)
            yield name, Rows(rows, entries)
            self.forget(kept)

    def _of(self, built: Mapping[str, Callable]) -> Iterator[tuple[str, Rows]]:
        for name, build in built.items():
            kept = len(self.stages)
            yield name, Rows(build())
            self.forget(kept)

    def write(self, name: str, rows: Rows, folder: Path) -> None:
        """Write a view's change rows, entries in the order of their users.

        What expires after the watermark is known already, so those rows are there too: history is
        right at any instant, as far as the lake's state knows. Materializations end before it.
        """
        stamped = (
            'SELECT * EXCLUDE ("at"), make_timestamptz("at") AS event_timestamp, '
            f'make_timestamptz("at") AS created_timestamp FROM ({compiled(rows.table)}) '
            f'WHERE "at" < {LAST}'
        )
        self._copy(stamped, folder / f"{name}.parquet")
        if rows.entries is not None:
            self._copy(
                f"SELECT * FROM ({compiled(rows.entries)}) "
                f'WHERE "first" < {LAST} ORDER BY user_id, "first"',
                folder / f"{name}.entries.parquet",
            )

    def _copy(self, query: str, path: Path) -> None:
        quoted = str(path).replace("'", "''")
        self.connection.execute(f"COPY ({query}) TO '{quoted}' (FORMAT parquet, COMPRESSION zstd)")


def compiled(table) -> str:
    """The DuckDB query of an Ibis expression, with the column types that Ibis declares.

    Ibis takes the sum of int64 to be int64 and leaves out such casts; DuckDB makes it wider.
    """
    import ibis

    columns = ", ".join(
        f'CAST("{name}" AS {_WHOLE[str(kind)]}) AS "{name}"' if str(kind) in _WHOLE else f'"{name}"'
        for name, kind in table.schema().items()
    )
    return f"SELECT {columns} FROM ({ibis.to_sql(table, dialect='duckdb')})"


_WHOLE = {"int64": "BIGINT", "array<int64>": "BIGINT[]"}
