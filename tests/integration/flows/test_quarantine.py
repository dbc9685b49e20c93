"""Quarantined rows as files that a person repairs and ingests again."""

import json

import pytest

from feature_repo.sources import files
from flows.cli.quarantine import ExportError, exported

WRONG = {
    "event_id": "e1",
    "event_timestamp": "2099-02-01T10:00:00.000000Z",
    "created_timestamp": "2099-02-01T10:00:00.000000Z",
    "user_id": "ada",
    "event_type": "view",
}


def test_exported_rows_can_be_repaired_and_read_again(tmp_path):
    rows = [{"table": "events", "payload": json.dumps(WRONG)}]
    folder = exported(rows, tmp_path / "repair")
    path = folder / "events.csv"
    path.write_text(path.read_text().replace("2099", "2025"))
    (row,) = files.read(folder).tables["events"].to_pylist()
    assert row["event_timestamp"] == row["created_timestamp"]
    assert row["event_timestamp"].year == 2025


def test_rows_of_several_tables_become_a_file_each(tmp_path):
    rows = [{"table": name, "payload": json.dumps(WRONG)} for name in ("events", "users")]
    folder = exported(rows, tmp_path / "repair")
    assert sorted(one.name for one in folder.glob("*.csv")) == ["events.csv", "users.csv"]


def test_export_never_writes_over_what_is_there(tmp_path):
    (tmp_path / "events.csv").write_text("mine")
    with pytest.raises(ExportError, match="name a new one"):
        exported([{"table": "events", "payload": json.dumps(WRONG)}], tmp_path)
    assert (tmp_path / "events.csv").read_text() == "mine"
