"""Data of the point-in-time benchmark: two views over one year, and random entity rows.

``python -m tests.benchmarks.point_in_time_data FOLDER --snapshots 52 --rows 10000`` writes it.
All values are random, so that nothing compresses. Rows are ordered by snapshot, then by id, as a
daily append would leave them. ``created_timestamp`` equals ``event_timestamp``, and every entity
instant is after the first snapshot and never equal to one. On such data Feast's rules and ours give
the same answer, so the answers of all competitors can be compared.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

YEAR = datetime(2025, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000
DAYS = 365
VECTOR = 16
ROW_GROUP = 120_000


@dataclass(frozen=True)
class View:
    """A feature view: its entity, the number of entities, and the number of scalar features."""

    name: str
    entity: str
    entities: int
    floats: int

    @property
    def key(self) -> str:
        return f"{self.entity}_id"

    @property
    def vector(self) -> str:
        return f"{self.entity}_vector"

    @property
    def features(self) -> list[str]:
        """The scalar features, then the vector, as in the file."""
        return [f"{self.entity}_{number:02}" for number in range(self.floats)] + [self.vector]

    def path(self, folder: Path, snapshots: int) -> Path:
        return folder / f"{self.name}-{self.entities}-{snapshots}.parquet"


USERS = View("user_stats", "user", 20_000, 20)
COUPONS = View("coupon_stats", "coupon", 1_000, 15)
VIEWS = (USERS, COUPONS)


def materialized(entities: int) -> View:
    """Returns the view to materialize: one row per entity, shaped like ``user_stats``."""
    return View("user_stats", "user", entities, 20)


def entities_path(folder: Path, rows: int) -> Path:
    return folder / f"entities-{rows}.parquet"


def write_view(folder: Path, view: View, snapshots: int) -> Path:
    """Writes one row per entity and snapshot; snapshots are whole days apart, from January 1."""
    import numpy as np
    import pyarrow as pa

    path = view.path(folder, snapshots)
    random = np.random.default_rng(view.entities + snapshots)
    ids = pa.array(ids_of(view))
    columns = view.features[:-1]
    step = DAYS // snapshots * DAY

    def tables() -> Iterator[pa.Table]:
        for snapshot in range(snapshots):
            values = random.standard_normal((view.floats + VECTOR, view.entities))
            vector = pa.FixedSizeListArray.from_arrays(values[view.floats :].ravel(), VECTOR)
            instants = _instants(np.full(view.entities, snapshot * step))
            yield pa.table(
                {view.key: ids}
                | dict(zip(columns, values, strict=False))
                | {view.vector: vector.cast(pa.list_(pa.float64()))}
                | {"event_timestamp": instants, "created_timestamp": instants}
            )

    return _write(path, tables())


def write_entities(folder: Path, rows: int) -> Path:
    """Writes rows with a random user, coupon and instant of the year, unordered."""
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(rows)
    # Snapshots lie on even microseconds, so an odd one never ties with them.
    moments = random.integers(0, DAYS * DAY, rows) | 1
    table = pa.table(
        {view.key: _ids_at(view, random.integers(0, view.entities, rows)) for view in VIEWS}
        | {"event_timestamp": _instants(moments)}
    )
    return _write(entities_path(folder, rows), [table])


def ids_of(view: View) -> list[str]:
    return [f"{view.entity}-{number:06}" for number in range(view.entities)]


def _ids_at(view: View, positions):
    import pyarrow as pa

    return pa.array(ids_of(view)).take(pa.array(positions))


def _instants(since):
    """Converts microseconds since the start of the year to UTC timestamps."""
    import pyarrow as pa

    start = int(YEAR.timestamp()) * 1_000_000
    return pa.array(since + start, pa.int64()).cast(pa.timestamp("us", "UTC"))


def _write(path: Path, tables) -> Path:
    """Writes tables to one file, which gets its name only when complete."""
    import pyarrow.parquet as pq

    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = iter(tables)
    waiting = [next(tables)]
    # A dictionary of random floats is larger than the floats.
    text = [name for name in waiting[0].schema.names if name.endswith("_id")]
    with pq.ParquetWriter(part, waiting[0].schema, use_dictionary=text) as writer:
        for table in tables:
            if sum(one.num_rows for one in waiting) >= ROW_GROUP:
                _flush(writer, waiting)
            waiting.append(table)
        _flush(writer, waiting)
    return part.rename(path)


def _flush(writer, tables: list) -> None:
    import pyarrow as pa

    writer.write_table(pa.concat_tables(tables).combine_chunks(), row_group_size=ROW_GROUP)
    tables.clear()


def main() -> None:
    """Writes missing files and reads existing ones, so that all are in the page cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--snapshots", type=int, nargs="*", default=[])
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument("--materialized", type=int, nargs="*", default=[])
    wanted = parser.parse_args()
    views = [(view, number) for number in wanted.snapshots for view in VIEWS]
    views += [(materialized(entities), 1) for entities in wanted.materialized]
    for view, number in views:
        if not _read(view.path(wanted.folder, number)):
            write_view(wanted.folder, view, number)
    for rows in wanted.rows:
        if not _read(entities_path(wanted.folder, rows)):
            write_entities(wanted.folder, rows)


def _read(path: Path) -> bool:
    """Reads a file into the page cache; returns False if it does not exist."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        while file.read(2**24):
            pass
    return True


if __name__ == "__main__":
    main()
