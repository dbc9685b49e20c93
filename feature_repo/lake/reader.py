"""Reads of the lake: Delta tables of the contract, in numbered states.

Delta makes a write to one table atomic. A batch writes to several tables, so a *state* names the
Delta version of each. Its manifest is a small file that appears atomically when the batch is
complete. Readers go through a state and never see part of a batch; ``landing`` is the only writer.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.contract import TABLES
from feature_repo.instants import MICROSECOND
from feature_repo.lake.duckdb_files import empty_query, null, parquet, query
from feature_repo.lake.state import QUARANTINE, LakeError, State

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

_MONTH = "partition.event_month"


class Lake:
    """Read access to the lake below ``home``; a read creates no file or folder."""

    def __init__(self, home: Path):
        self.home = Path(home)
        self.root = self.home / "lake"

    def table_path(self, name: str) -> Path:
        """Returns the folder of a Delta table."""
        return self.root / "tables" / name

    def state_path(self, number: int) -> Path:
        """Returns the path of a state's manifest."""
        return self.root / "states" / f"{number:06d}.json"

    def numbers(self) -> list[int]:
        """Returns the numbers of all states, oldest first."""
        found = (re.fullmatch(r"(\d{6})\.json", p.name) for p in self.root.glob("states/*.json"))
        return sorted(int(match[1]) for match in found if match)

    def state(self, number: int | None = None) -> State:
        """Reads the newest state, or the state with this number.

        Raises LakeError if the lake is empty, or has no such state, or its manifest is damaged.
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

    def table(self, name: str, version: int | None = None) -> "DeltaTable":
        """Opens a Delta table of the lake. Raises LakeError if it is damaged."""
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
        """Returns the Parquet files of a table that can hold rows in ``[start, end)``."""
        if name not in state.tables:
            return []
        added = self.added(name, state.tables[name].version)
        if _MONTH not in added.column_names:
            return added["path"].to_pylist()
        first, last = _months(start, end)
        pairs = zip(added["path"].to_pylist(), added[_MONTH].to_pylist(), strict=True)
        return [path for path, month in pairs if first <= month <= last]

    def added(self, name: str, version: int | None = None) -> "pa.Table":
        """Lists a table's data files: path, size_bytes and, if it is partitioned, month."""
        import pyarrow as pa

        actions = pa.table(self.table(name, version).get_add_actions(flatten=True)).sort_by("path")
        # Delta can return absolute paths as URLs, which differ from paths for some characters.
        paths = [str(self.table_path(name) / path) for path in actions["path"].to_pylist()]
        place = actions.column_names.index("path")
        return actions.set_column(place, "path", pa.array(paths, pa.string()))

    def scan(
        self, name: str, state: State, start: datetime | None = None, end: datetime | None = None
    ) -> str:
        """Returns a query for all versions of a table's rows that happened in ``[start, end)``."""
        table = TABLES[name]
        files = self.files(name, state, start, end)
        source = self._rows(name, state, files) if files else empty_query(table)
        bounds = [("event_timestamp >= ", start), ("event_timestamp < ", end)]
        where = " AND ".join(f"{text}'{at.isoformat()}'" for text, at in bounds if at)
        return f"{source} WHERE {where}" if where else source

    def _rows(self, name: str, state: State, files: list[str]) -> str:
        """Returns a query for the rows of files; a column added to the contract later is null."""
        table = TABLES[name]
        stored = {
            field.name for field in self.table(name, state.tables[name].version).schema().fields
        }
        columns = (
            column.name if column.name in stored else f"{null(column)} AS {column.name}"
            for column in table.columns
        )
        # A partition folder is not read by name: it may have thousands of files.
        return f"SELECT {', '.join(columns)} FROM {parquet(files, not table.partitioned)}"

    def read(
        self,
        name: str,
        state: State,
        columns: Iterable[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> "pa.Table":
        """Reads all versions of a table's rows that happened in ``[start, end)``."""
        picked = ", ".join(columns) if columns else "*"
        return query(f"SELECT {picked} FROM ({self.scan(name, state, start, end)})")

    def known(self, name: str, state: State) -> "pa.Table":
        """Reads the rows known before the watermark, each in the version learned last.

        A row is known from the later of ``event_timestamp`` and ``created_timestamp``. A redemption
        that was taken back before the watermark is left out.
        """
        return query(self.known_sql(name, state))

    def known_sql(
        self,
        name: str,
        state: State,
        as_of: datetime | None = None,
        with_ended: bool = False,
    ) -> str:
        """Returns the query of ``known``, for rows known before ``as_of`` (default: watermark).

        ``with_ended`` keeps the rows that no longer count.
        """
        key, ends = ", ".join(TABLES[name].key), TABLES[name].ends
        newest = (
            f"{self._known_versions(name, state, as_of)} "
            f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY created_timestamp DESC) = 1"
        )
        if ends is None or with_ended:
            return newest
        before = (state.watermark if as_of is None else as_of).isoformat()
        return f"SELECT * FROM ({newest}) WHERE coalesce({ends} >= '{before}', true)"

    def known_ids(self, name: str, state: State, as_of: datetime) -> list[str]:
        """Reads the sorted ids (first key column) of a table's rows known before an instant."""
        key = TABLES[name].key[0]
        rows = query(
            f"SELECT DISTINCT {key} FROM ({self._known_versions(name, state, as_of)}) ORDER BY 1"
        )
        return rows[key].to_pylist()

    def _known_versions(self, name: str, state: State, as_of: datetime | None) -> str:
        before = (state.watermark if as_of is None else as_of).isoformat()
        return (
            f"SELECT * FROM ({self.scan(name, state)}) "
            f"WHERE greatest(event_timestamp, created_timestamp) < '{before}'"
        )

    def quarantine(self, state: State) -> "pa.Table | None":
        """Reads the rows in quarantine; None if there are none."""
        files = self.files(QUARANTINE, state)
        return query(f"SELECT * FROM {parquet(files)}") if files else None


def _months(start: datetime | None, end: datetime | None) -> tuple[str, str]:
    """Returns the first and the last UTC month (as 2017-03) of ``[start, end)``."""
    first = f"{start.astimezone(UTC):%Y-%m}" if start else ""
    last = f"{end.astimezone(UTC) - MICROSECOND:%Y-%m}" if end else "9999-12"
    return first, last
