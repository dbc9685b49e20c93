"""Export of quarantined rows as CSV files, for repair and a new ingest."""

import json

import pytest

from feature_repo.sources.files import source as files
from flows.cli.quarantine import ExportError, export_rows

WRONG = {
    "event_id": "e1",
    "event_timestamp": "2099-02-01T10:00:00.000000Z",
    "created_timestamp": "2099-02-01T10:00:00.000000Z",
    "user_id": "ada",
    "event_type": "view",
}


def test_exported_rows_can_be_repaired_and_read_again(tmp_path):
    rows = [{"table": "events", "payload": json.dumps(WRONG)}]
    folder = export_rows(rows, tmp_path / "repair")
    path = folder / "events.csv"
    path.write_text(path.read_text().replace("2099", "2025"))
    (row,) = files.read(folder).tables["events"].to_pylist()
    assert row["event_timestamp"] == row["created_timestamp"]
    assert row["event_timestamp"].year == 2025


def test_each_table_is_exported_to_its_own_file(tmp_path):
    rows = [{"table": name, "payload": json.dumps(WRONG)} for name in ("events", "users")]
    folder = export_rows(rows, tmp_path / "repair")
    assert sorted(one.name for one in folder.glob("*.csv")) == ["events.csv", "users.csv"]


def test_export_never_overwrites_a_file(tmp_path):
    (tmp_path / "events.csv").write_text("mine")
    with pytest.raises(ExportError, match="Choose a new folder"):
        export_rows([{"table": "events", "payload": json.dumps(WRONG)}], tmp_path)
    assert (tmp_path / "events.csv").read_text() == "mine"
