"""The quarantine as a person handles it: list it, take it out as CSV, repair, ingest again."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from feature_repo.lake import Lake
from flows.steps import prepare_environment


def held(table: str | None = None) -> list[dict]:
    """The rows in quarantine, of one table or all, in the order of their ids."""
    lake = Lake(prepare_environment())
    found = lake.quarantine(lake.state())
    rows = [] if found is None else found.to_pylist()
    chosen = [row for row in rows if table in (None, row["table"])]
    return sorted(chosen, key=lambda row: (row["table"], row["row_id"]))


def exported(rows: Sequence[Mapping], path: Path) -> Path:
    """Write the rows as CSV in their own columns, one file a table if there are several.

    Returns the file, or the folder with the files, which ``ingest --source files`` reads.
    """
    tables = sorted({row["table"] for row in rows})
    folder = path if path.suffix != ".csv" else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    for name in tables:
        target = path if path.suffix == ".csv" and len(tables) == 1 else folder / f"{name}.csv"
        _write(target, [json.loads(row["payload"]) for row in rows if row["table"] == name])
    return path if len(tables) == 1 and path.suffix == ".csv" else folder


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
