"""The lake: Delta tables of the raw contract, read as of a numbered state.

Delta makes one table atomic. A batch touches several, so a *state* names the Delta version of
each: a small manifest that appears at once when the batch is complete. Readers go through a
state and never see a half-landed batch; ``landing`` is the only writer.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from feature_repo.contract import TABLES
from feature_repo.lake.duckdb_files import empty_query, parquet, query
from feature_repo.lake.state import QUARANTINE, LakeError, State

_MONTH = "partition.event_month"


class Lake:
    """Read access to the lake below ``home``; nothing is created by reading."""

    def __init__(self, home: Path):
        self.home = Path(home)
        self.root = self.home / "lake"

    def table_path(self, name: str) -> Path:
        return self.root / "tables" / name

    def state_path(self, number: int) -> Path:
        return self.root / "states" / f"{number:06d}.json"

    def numbers(self) -> list[int]:
        """The numbers of all states, oldest first."""
        found = (re.fullmatch(r"(\d{6})\.json", p.name) for p in self.root.glob("states/*.json"))
        return sorted(int(match[1]) for match in found if match)

    def state(self, number: int | None = None) -> State:
        """The current state, or the numbered one.

        Raises LakeError if the lake is empty or has no such state.
        """
        numbers = self.numbers()
        if not numbers:
            raise LakeError(
                f"The lake at {self.root} is empty; run `clipwise ingest --source "
                "complete_journey` or bring your own data with --source files."
            )
        if number is not None and number not in numbers:
            raise LakeError(
                f"The lake has no version {number}; it has {numbers[0]} to {numbers[-1]}."
            )
        path = self.state_path(numbers[-1] if number is None else number)
        try:
            return State.from_json(path.read_text())
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(f"{path} is damaged ({error}); restore it from a backup.") from error

    def table(self, name: str, version: int | None = None):
        """A Delta table of the lake. Raises LakeError if it is damaged."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            return DeltaTable(self.table_path(name), version=version)
        except DeltaError as error:
            raise LakeError(
                f"The table at {self.table_path(name)} is damaged ({error}); restore it from a "
                "backup, or remove the lake and ingest again."
            ) from error

    def files(
        self, name: str, state: State, start: datetime | None = None, end: datetime | None = None
    ) -> list[str]:
        """The Parquet files of a table; for ``[start, end)`` only those that can hold its rows."""
        if name not in state.tables:
            return []
        added = self.added(name, state.tables[name].version)
        if _MONTH not in added.column_names:
            return added["path"].to_pylist()
        first, last = _months(start, end)
        pairs = zip(added["path"].to_pylist(), added[_MONTH].to_pylist(), strict=True)
        return [path for path, month in pairs if first <= month <= last]

    def added(self, name: str, version: int | None = None):
        """The data files of a table's version: path, size_bytes and, if it has them, months."""
        import pyarrow as pa

        actions = pa.table(self.table(name, version).get_add_actions(flatten=True)).sort_by("path")
        # Delta's own absolute paths are those of a URL, which is not where every file is.
        paths = [str(self.table_path(name) / path) for path in actions["path"].to_pylist()]
        place = actions.column_names.index("path")
        return actions.set_column(place, "path", pa.array(paths, pa.string()))

    def scan(
        self, name: str, state: State, start: datetime | None = None, end: datetime | None = None
    ) -> str:
        """A DuckDB query for all row versions of a raw table, happening in ``[start, end)``."""
        table = TABLES[name]
        files = self.files(name, state, start, end)
        columns = ", ".join(table.column_names)
        source = f"SELECT {columns} FROM {parquet(files)}" if files else empty_query(table)
        bounds = [("event_timestamp >= ", start), ("event_timestamp < ", end)]
        where = " AND ".join(f"{text}'{at.isoformat()}'" for text, at in bounds if at)
        return f"{source} WHERE {where}" if where else source

    def read(
        self,
        name: str,
        state: State,
        columns: Iterable[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ):
        """All row versions of a raw table in ``[start, end)`` as an Arrow table."""
        picked = ", ".join(columns) if columns else "*"
        return query(f"SELECT {picked} FROM ({self.scan(name, state, start, end)})")

    def known(self, name: str, state: State):
        """The version of every row that counts at the watermark: the one learned last.

        What happens or takes effect later does not count yet.
        """
        return query(self.known_sql(name, state))

    def known_sql(self, name: str, state: State) -> str:
        """The DuckDB query behind ``known``."""
        key = ", ".join(TABLES[name].key)
        return (
            f"SELECT * FROM ({self.scan(name, state)}) "
            f"WHERE greatest(event_timestamp, created_timestamp) < '{state.watermark.isoformat()}' "
            f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY created_timestamp DESC) = 1"
        )

    def quarantine(self, state: State):
        """The rows in quarantine as an Arrow table, or None if there are none."""
        files = self.files(QUARANTINE, state)
        return query(f"SELECT * FROM {parquet(files)}") if files else None


def _months(start: datetime | None, end: datetime | None) -> tuple[str, str]:
    """The first and the last UTC month, as in 2017-03, that ``[start, end)`` touches."""
    first = f"{start.astimezone(UTC):%Y-%m}" if start else ""
    last = f"{end.astimezone(UTC) - timedelta(microseconds=1):%Y-%m}" if end else "9999-12"
    return first, last
