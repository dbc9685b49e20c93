"""The work of the point-in-time benchmark: two views over one year, and random entity rows.

``python -m tests.benchmarks.point_in_time_data FOLDER --snapshots 52 --rows 10000`` writes it.
Every value is random, so nothing compresses; the rows lie by snapshot, then by id, as a job that
appends once a day would leave them. ``created_timestamp`` equals ``event_timestamp``, every
entity instant lies after the first snapshot and never on one: there Feast's contract and ours
give the same answer, and the answers of all competitors are compared.
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
    """A feature view: its entity, how many of them there are, and its number of plain floats."""

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
        """The plain floats and the vector, in the order of the file."""
        return [f"{self.entity}_{number:02}" for number in range(self.floats)] + [self.vector]

    def path(self, folder: Path, snapshots: int) -> Path:
        return folder / f"{self.name}-{self.entities}-{snapshots}.parquet"


USERS = View("user_stats", "user", 20_000, 20)
COUPONS = View("coupon_stats", "coupon", 1_000, 15)
VIEWS = (USERS, COUPONS)


def materialized(entities: int) -> View:
    """The view that is materialized: one row an entity, of the shape of ``user_stats``."""
    return View("user_stats", "user", entities, 20)


def entities_path(folder: Path, rows: int) -> Path:
    return folder / f"entities-{rows}.parquet"


def write_view(folder: Path, view: View, snapshots: int) -> Path:
    """One row an entity and snapshot; snapshots lie a whole number of days apart from January 1."""
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
    """Random users, coupons and instants of the year, one row each, in no order."""
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(rows)
    # Snapshots lie on even microseconds, so an odd one never ties with them.
    moments = random.integers(0, DAYS * DAY, rows) | 1
    table = pa.table(
        {view.key: _picked(view, random.integers(0, view.entities, rows)) for view in VIEWS}
        | {"event_timestamp": _instants(moments)}
    )
    return _write(entities_path(folder, rows), [table])


def ids_of(view: View) -> list[str]:
    return [f"{view.entity}-{number:06}" for number in range(view.entities)]


def _picked(view: View, positions):
    import pyarrow as pa

    return pa.array(ids_of(view)).take(pa.array(positions))


def _instants(since):
    """Microseconds since the start of the year as UTC timestamps."""
    import pyarrow as pa

    start = int(YEAR.timestamp()) * 1_000_000
    return pa.array(since + start, pa.int64()).cast(pa.timestamp("us", "UTC"))


def _write(path: Path, tables) -> Path:
    """Write tables as one file, which appears under its name only when it is whole."""
    import pyarrow.parquet as pq

    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = iter(tables)
    held = [next(tables)]
    # A dictionary of random floats is larger than the floats.
    coded = [name for name in held[0].schema.names if name.endswith("_id")]
    with pq.ParquetWriter(part, held[0].schema, use_dictionary=coded) as writer:
        for table in tables:
            if sum(one.num_rows for one in held) >= ROW_GROUP:
                _flush(writer, held)
            held.append(table)
        _flush(writer, held)
    return part.rename(path)


def _flush(writer, held: list) -> None:
    import pyarrow as pa

    writer.write_table(pa.concat_tables(held).combine_chunks(), row_group_size=ROW_GROUP)
    held.clear()


def main() -> None:
    """Write what is not there yet, and read the rest, so that the disk counts for nobody."""
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
    """Bring a file into the page cache, if there is one."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        while file.read(2**24):
            pass
    return True


if __name__ == "__main__":
    main()
