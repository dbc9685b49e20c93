"""Reads of a lake: states, versions, months, damaged and empty lakes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_repo.lake import landing
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import LakeError, State, TableState, instant
from tests.support.landing_batches import (
    START,
    content,
    day,
    land,
    purchase,
    quarantined,
    rows,
    whole_batch,
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A lake with three states; its purchases are 20 days apart from 2025-01-30."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    for number in (1, 2):
        land(lake, whole_batch(number), quarantined(f"q{number}"))
    land(lake, {"events": rows("events", purchase("late", 70))})
    return lake


def test_old_versions_stay_readable(lake):
    assert [lake.read("events", lake.state(n)).num_rows for n in (1, 2, 3)] == [4, 8, 9]
    assert lake.read("users", lake.state(1))["user_id"].to_pylist() == ["u1"]
    assert lake.quarantine(lake.state(1))["quarantine_id"].to_pylist() == ["q1"]
    assert lake.state() == lake.state(3)


def test_tables_keep_versions_of_any_age(lake):
    for name in (*whole_batch(), "quarantine"):
        settings = lake.table(name).metadata().configuration
        assert settings["delta.enableExpiredLogCleanup"] == "false"


def test_error_for_a_missing_version_names_it_and_the_existing_ones(lake):
    with pytest.raises(LakeError, match=r"has no version 9; it has 1 to 3\."):
        lake.state(9)


def test_error_for_an_empty_lake_names_the_command_that_fills_it(tmp_path):
    with pytest.raises(LakeError, match="is empty; run `clipwise ingest"):
        Lake(tmp_path / "nothing").state()
    assert list(tmp_path.iterdir()) == []


def test_manifest_has_rows_range_and_bytes_of_a_table(lake):
    events = lake.state(2).tables["events"]
    assert (events.rows, events.first, events.last) == (8, START, day(60))
    files = lake.files("events", lake.state(2))
    assert events.bytes == sum(Path(file).stat().st_size for file in files)


def test_state_is_equal_after_writing_and_reading_its_manifest():
    tables = {
        "users": TableState(3, 10, 99, "00ff", START, day(1), "assumed"),
        "quarantine": TableState(0, 0, 0, "0" * 16, None, None),
    }
    state = State(7, START + timedelta(microseconds=1), 1, "files:shop", tables)
    assert State.from_json(state.to_json()) == state


@pytest.mark.parametrize(
    ("start", "end", "months", "events"),
    [
        (None, None, {"2025-01", "2025-02", "2025-03", "2025-04"}, 9),
        (day(20), day(21), {"2025-02"}, 2),
        (datetime(2025, 2, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC), {"2025-02"}, 2),
        (datetime(2025, 3, 1, tzinfo=UTC), None, {"2025-03", "2025-04"}, 5),
        (None, day(20), {"2025-01", "2025-02"}, 2),
        (day(300), day(400), set(), 0),
        (instant("2025-02-01T01:00:00+05:00"), instant("2025-02-01T05:00:00+05:00"), None, 0),
    ],
)
def test_time_range_reads_only_the_files_of_its_months(lake, start, end, months, events):
    state = lake.state()
    files = lake.files("events", state, start, end)
    months = {"2025-01"} if months is None else months
    assert {Path(file).parent.name.removeprefix("event_month=") for file in files} == months
    assert lake.read("events", state, start=start, end=end).num_rows == events


def test_time_range_includes_its_start_and_excludes_its_end(lake):
    state, microsecond = lake.state(1), timedelta(microseconds=1)
    assert lake.read("events", state, start=day(20), end=day(40)).num_rows == 1
    assert lake.read("events", state, start=day(20) + microsecond, end=day(40)).num_rows == 0
    assert lake.read("events", state, start=day(20), end=day(40) + microsecond).num_rows == 2


def test_columns_are_read_in_the_requested_order(lake):
    table = lake.read("events", lake.state(), columns=["amount", "event_id"])
    assert table.column_names == ["amount", "event_id"]


@pytest.mark.parametrize("name", ["a b", "Åsa's läke", "st*r?", "ha#sh"])
def test_lake_works_in_a_folder_with_special_characters(tmp_path, name):
    lake = Lake(tmp_path / name)
    land(lake, whole_batch(), quarantined("q1"))
    state, _ = land(lake, whole_batch(2), quarantined("q2"), released={"q1"})
    assert {table: len(found) for table, found in content(lake, state).items()} == {
        table: rows.num_rows * 2 for table, rows in whole_batch().items()
    } | {"quarantine": 1}


@pytest.mark.parametrize("name", ["100%", "a[b]"])
def test_folder_that_delta_cannot_write_to_is_refused(tmp_path, name):
    with pytest.raises(LakeError, match="set CLIPWISE_HOME to another folder"):
        land(Lake(tmp_path / name), whole_batch())
    assert list(tmp_path.iterdir()) == []


def test_error_names_a_damaged_table(tmp_path):
    lake = Lake(tmp_path)
    state, _ = land(lake, whole_batch())
    for log in (lake.table_path("users") / "_delta_log").iterdir():
        log.unlink()
    with pytest.raises(LakeError, match="The table at .*users is damaged"):
        lake.read("users", state)


def test_error_names_a_damaged_manifest(tmp_path):
    lake = Lake(tmp_path)
    land(lake, whole_batch())
    lake.state_path(1).write_text('{"number": 1')
    with pytest.raises(LakeError, match=r"000001\.json is damaged"):
        lake.state()


def test_draft_or_another_file_is_not_a_state(tmp_path):
    lake = Lake(tmp_path)
    land(lake, whole_batch())
    (lake.root / "states" / "000002.draft").write_text("{")
    (lake.root / "states" / "notes.json").write_text("{")
    assert lake.numbers() == [1]
    assert landing.current_state(lake).number == 1


def test_lake_accepts_a_home_given_as_text(tmp_path):
    state, _ = land(Lake(tmp_path), whole_batch())
    assert Lake(str(tmp_path)).read("users", state).num_rows == 1


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2017-12-01T00:00:00Z", "2017-12-01T00:00:00+00:00"),
        ("2017-12-01T00:00:00-05:00", "2017-12-01T05:00:00+00:00"),
    ],
)
def test_instant_is_converted_to_utc(text, iso):
    assert instant(text).isoformat() == iso


@pytest.mark.parametrize(
    ("text", "message"),
    [("2017-12-01", "names no time zone"), ("yesterday", "Expected an instant such as")],
)
def test_text_that_is_not_an_instant_is_refused(text, message):
    with pytest.raises(LakeError, match=message):
        instant(text)
