"""The quarantine as a person handles it: list it, take it out as CSV, repair, ingest again."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from feature_repo.contract import TABLES
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import LakeError
from flows.runtime import prepare_environment


class ExportError(Exception):
    """The rows cannot be written where they should go."""


def held(table: str | None = None) -> list[dict]:
    """The rows in quarantine, of one table or all, in the order of their ids.

    Raises LakeError for a table that is not in the contract.
    """
    if table not in (None, *TABLES):
        raise LakeError(f"There is no table {table!r}; the tables are {', '.join(TABLES)}.")
    lake = Lake(prepare_environment())
    found = lake.quarantine(lake.state())
    rows = [] if found is None else found.to_pylist()
    chosen = [row for row in rows if table in (None, row["table"])]
    return sorted(chosen, key=lambda row: (row["table"], row["row_id"]))


def given_up(start: str) -> None:
    """Take the row whose id begins so out of the quarantine for good."""
    from validation.ingestion import discard

    discard(Lake(prepare_environment()), start)


def exported(rows: Sequence[Mapping], folder: Path) -> Path:
    """Write the rows into a new folder, one CSV a table, which ``ingest --source files`` reads.

    Amounts are in minor units. Returns the folder. Raises ExportError if it exists already.
    """
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ExportError(
            f"Expected a folder that can be made for the rows, {folder} cannot ({error.strerror}); "
            "name a new one."
        ) from error
    for name in sorted({row["table"] for row in rows}):
        payloads = [json.loads(row["payload"]) for row in rows if row["table"] == name]
        _write(folder / f"{name}.csv", payloads)
    return folder


def _write(path: Path, rows: list[dict]) -> None:
    """Write rows as a person repairs them: an instant of learning only where one was stated."""
    for row in rows:
        if row.get("created_timestamp") == row.get("event_timestamp"):
            row["created_timestamp"] = None
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
