"""Actions on the quarantine: list rows, discard one, and export rows as CSV for a new ingest."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feature_repo.contract import TABLES
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import LakeError
from flows.cli.held_back import effect, held_back
from flows.runtime import prepare_environment


class ExportError(Exception):
    """The rows cannot be written to the chosen folder."""


def quarantined_rows(table: str | None = None) -> list[dict[str, Any]]:
    """Returns the rows in quarantine, of one table or of all, ordered by table and row id.

    ``effect`` of a row says what is held back because of it.
    Raises LakeError for a table that is not in the contract.
    """
    if table not in (None, *TABLES):
        raise LakeError(f"There is no table {table!r}; the tables are {', '.join(TABLES)}.")
    lake = Lake(prepare_environment())
    found = lake.quarantine(lake.state())
    rows = [] if found is None else found.to_pylist()
    held = held_back(lake) if rows else {}
    chosen = [
        row | {"effect": effect(row["table"], _content(row["payload"]), held)}
        for row in rows
        if table in (None, row["table"])
    ]
    return sorted(chosen, key=lambda row: (row["table"], row["row_id"]))


def _content(payload: str) -> Mapping[str, Any]:
    content = json.loads(payload)
    return content if isinstance(content, dict) else {}


def discard_row(start: str) -> None:
    """Deletes the row whose id starts with ``start`` from the quarantine.

    Raises LakeError unless exactly one row matches.
    """
    from validation.ingestion import discard

    discard(Lake(prepare_environment()), start)


def export_rows(rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Writes the rows into a new folder, with one CSV for each table, and returns the folder.

    ``clipwise ingest --source files`` reads the files. Amounts are in minor units. Raises
    ExportError if the folder exists or cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ExportError(
            f"Expected a new folder for the rows, but {folder} cannot be made "
            f"({error.strerror}). Choose a new folder."
        ) from error
    for name in sorted({row["table"] for row in rows}):
        payloads = [json.loads(row["payload"]) for row in rows if row["table"] == name]
        _write(folder / f"{name}.csv", payloads)
    return folder


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows for repair by hand.

    A created_timestamp that equals the event_timestamp is left empty. It was assumed, and must
    follow a repaired event_timestamp.
    """
    for row in rows:
        if row.get("created_timestamp") == row.get("event_timestamp"):
            row["created_timestamp"] = None
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
