"""Results on disk and in blocks, entity rows from SQL, memory, and errors for bad input."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.support import taxi
from tests.support.places import ROOT
from tests.support.taxi import HOUR, T0, entity_frame

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

ROWS = {
    "driver_stats": [
        (driver, hour, 4.5, "Ann", True, [float(hour)] * 3, T0 + hour * HOUR, T0 + hour * HOUR)
        for driver in (1, 2, 3)
        for hour in range(20)
    ],
    "pairing": [(1, "r1", 2, T0, T0), (2, "r1", 6, T0 + HOUR, T0 + HOUR)],
}
REFS = ["driver_stats:trips", "driver_stats:profile", "pairing:rides"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taxi")
    return taxi.store(taxi.write(folder, {"type": taxi.OURS}, ROWS))


def entities(count: int = 300) -> pd.DataFrame:
    rows = [(1 + n % 4, "r1", T0 + (n * 37 % 500) * HOUR / 10) for n in range(count)]
    return entity_frame(rows, "driver_id rider_id")


def joined(store, refs: list[str], **options) -> list:
    """The blocks of a join of ``entities()``; ``options`` are those of ``join``."""
    from feature_repo.lake.duckdb_files import connect
    from feature_repo.offline.as_of_join import join
    from feature_repo.offline.entity_rows import entity_rows
    from feature_repo.offline.join_plan import plan_of
    from feature_repo.offline.query import Query

    rows = entity_rows(entities(), connect())
    views = dict.fromkeys(ref.split(":")[0] for ref in refs)
    plans = [plan_of(store.get_feature_view(view), refs, False, rows) for view in views]
    with Query.open(store.config, [plan.source for plan in plans]) as query:
        return list(join(query, connect(), rows, plans, **options))


def test_a_result_in_many_blocks_is_the_result_in_one(store, tmp_path_factory):
    import pyarrow as pa

    small = {"type": taxi.OURS, "memory_limit": "500MB"}
    folder = taxi.write(tmp_path_factory.mktemp("small"), small, ROWS)
    whole = store.get_historical_features(entities(), REFS)
    tables = joined(taxi.store(folder), REFS, block_rows=7)
    assert len(tables) == 43
    assert pa.concat_tables(tables).equals(whole.to_arrow())


def test_a_result_is_written_to_parquet_and_never_over_a_file(store, tmp_path):
    from feature_repo.offline.errors import PointInTimeError

    job = store.get_historical_features(entities(), REFS)
    job.to_parquet(tmp_path / "deep" / "result.parquet")
    assert pq.read_table(tmp_path / "deep" / "result.parquet").equals(job.to_arrow())
    with pytest.raises(PointInTimeError, match="name another file"):
        job.to_parquet(tmp_path / "deep" / "result.parquet")
    assert os.listdir(tmp_path / "deep") == ["result.parquet"]


def test_a_query_that_fails_leaves_no_file(store, tmp_path):
    job = store.get_historical_features(entities(), REFS)
    source = Path(store.repo_path) / "data" / "driver_stats.parquet"
    source.rename(tmp_path / "away.parquet")
    try:
        with pytest.raises(Exception, match="driver_stats"):
            job.to_parquet(tmp_path / "result.parquet")
    finally:
        (tmp_path / "away.parquet").rename(source)
    assert os.listdir(tmp_path) == []


def test_saved_dataset_is_overwritten_only_if_allowed(store, tmp_path):
    from feast.errors import SavedDatasetLocationAlreadyExists
    from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

    storage = SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet"))
    job = store.get_historical_features(entities(), REFS)
    store.create_saved_dataset(job, "saved", storage)
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        store.create_saved_dataset(job, "saved", storage)
    fewer = store.get_historical_features(entities(3), REFS)
    saved = store.create_saved_dataset(fewer, "saved", storage, allow_overwrite=True)
    assert len(saved.to_df()) == 3 and saved.min_event_timestamp == T0.replace(tzinfo=None)


def test_entity_rows_may_come_from_sql(store, tmp_path):
    frame = entities()
    frame.to_parquet(tmp_path / "asked.parquet")
    sql = f"SELECT * FROM read_parquet('{tmp_path}/asked.parquet')"
    job = store.get_historical_features(sql, REFS)
    same = store.get_historical_features(frame, REFS)
    pd.testing.assert_frame_equal(job.to_df(), same.to_df(), check_dtype=False)
    assert (job.metadata.min_event_timestamp, job.metadata.keys) == (T0, ["driver_id", "rider_id"])


def test_sql_names_files_as_the_repository_does(store):
    sql = "SELECT DISTINCT driver_id, TIMESTAMPTZ '2024-03-01 18:30:00Z' AS event_timestamp "
    sql += "FROM 'data/driver_stats.parquet' ORDER BY driver_id DESC"
    found = store.get_historical_features(sql, ["driver_stats:trips"]).to_arrow().to_pydict()
    assert found["driver_id"] == [3, 2, 1] and found["trips"] == [6, 6, 6]


def test_nanoseconds_count_between_microseconds(store):
    at = pd.to_datetime(["2024-03-01T12:00:00.000000000Z", "2024-03-01T12:00:00.000000001Z"])
    found = store.get_historical_features(
        pd.DataFrame({"driver_id": [1, 1], "event_timestamp": at}), ["driver_stats:trips"]
    ).to_arrow()
    assert found["trips"].to_pylist() == [None, 0]


AT = "TIMESTAMPTZ '2024-03-01 18:30:00Z' AS event_timestamp"


@pytest.mark.parametrize("end", [";", " ; ;", " -- done", "; -- done; é\n", " /* é; */;"])
def test_sql_may_end_with_semicolons_and_comments(store, end):
    job = store.get_historical_features(f"SELECT 2 AS driver_id, 'é;' AS n, {AT}{end}", REFS[:1])
    assert job.to_arrow().to_pydict() | {"event_timestamp": 0} == {
        "driver_id": [2],
        "n": ["é;"],
        "event_timestamp": 0,
        "trips": [6],
    }
    assert job.metadata.min_event_timestamp == T0 + 6.5 * HOUR


TWICE = pd.DataFrame([[1, 2, T0]], columns=["driver_id", "driver_id", "event_timestamp"])
BAD = {
    "an instant that is a number": (
        entity_frame([(1, 1_709_294_400)], "driver_id"),
        "Expected instants in the column event_timestamp .* got int64; convert",
    ),
    "no instant": (pd.DataFrame({"driver_id": [1]}), "Expected a column event_timestamp"),
    "a column twice": (TWICE, "driver_id more than once"),
    "a column twice in SQL": (f"SELECT 1 AS driver_id, 1 AS n, 2 AS n, {AT}", "n more than once"),
    "several statements": (f"SELECT 1; SELECT 1 AS driver_id, {AT}", "got 2 statements"),
    "no statement": ("-- nothing", "got 0 statements"),
    "a variable of the code": (f"SELECT 1 AS driver_id, {AT} FROM entity_df", "entity_df"),
    "an instant is missing": (
        entity_frame([(1, T0), (1, None)], "driver_id"),
        "row 1 .from 0. has none",
    ),
    "a key is missing": (entity_frame([("x", T0)], "chauffeur"), "Add driver_id"),
    "a feature is there already": (entity_frame([(1, 5, T0)], "driver_id trips"), "rename it"),
    "a column of two types": (entity_frame([(1, [1], T0), (1, "x", T0)], "driver_id odd"), "odd"),
    "an instant that is none": (entity_frame([(1, "yesterday")], "driver_id"), "yesterday"),
    "no rows": (None, "got none"),
    "a key of another type": (
        entity_frame([("one", T0)], "driver_id"),
        "driver_stats by driver_id cannot be read: .* 'one' to INT64$",
    ),
    "SQL that does not run": ("SELECT * FROM nowhere", "nowhere"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_entity_rows_are_refused_in_one_sentence(store, case):
    from feature_repo.offline.errors import PointInTimeError

    rows, sentence = BAD[case]
    with pytest.raises(PointInTimeError, match=sentence):
        store.get_historical_features(rows, ["driver_stats:trips"]).to_arrow()


def test_error_names_a_missing_source(store, tmp_path):
    from feature_repo.offline.errors import PointInTimeError

    source = Path(store.repo_path) / "data" / "weather.parquet"
    source.rename(tmp_path / "away.parquet")
    try:
        with pytest.raises(PointInTimeError, match="weather.*data/weather.parquet"):
            where = entity_frame([(7, T0)], "place_id")
            store.get_historical_features(where, ["weather:degrees"]).to_arrow()
    finally:
        (tmp_path / "away.parquet").rename(source)


@pytest.mark.parametrize("text", ["lots", "80%", "-1GB", ""])
def test_memory_limit_that_is_no_size_is_refused(tmp_path, text):
    taxi.write(tmp_path, {"type": taxi.OURS, "memory_limit": f"'{text}'"}, {})
    with pytest.raises(Exception, match="size of memory such as 4GB"):
        _ = taxi.store(tmp_path).config.offline_store


def test_spill_of_a_killed_query_is_removed_by_the_next(store, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f"clipwise-spill-{ended.pid}-0000").mkdir()
    (tmp_path / f"clipwise-spill-{os.getppid()}-0000").mkdir()
    store.get_historical_features(entities(), REFS).to_arrow()
    assert os.listdir(tmp_path) == [f"clipwise-spill-{os.getppid()}-0000"]


def test_query_spills_into_a_home_that_does_not_exist_yet(tmp_path):
    from feature_repo.lake.duckdb_files import connect
    from feature_repo.offline.spill import spill_folder

    with spill_folder(tmp_path / "absent" / "home") as spill, connect(spill) as connection:
        connection.execute("SET memory_limit = '32MB'")
        connection.execute("CREATE TEMP TABLE numbers AS SELECT range AS n FROM range(9000000)")
        assert any(spill.iterdir())
    assert not spill.exists()


def test_out_of_memory_error_names_the_setting(tmp_path):
    from feature_repo.lake.duckdb_files import connect
    from feature_repo.offline.errors import PointInTimeError, duckdb_errors

    with connect() as connection, pytest.raises(PointInTimeError, match="raise memory_limit"):
        connection.execute("SET memory_limit = '16MB'")
        with duckdb_errors("The source of stats"):
            connection.execute("CREATE TEMP TABLE numbers AS SELECT range AS n FROM range(9000000)")


LARGE = """
import sys
import duckdb, pyarrow as pa
folder = sys.argv[1]
connection = duckdb.connect()
vector = "[" + ", ".join(f"random() + {n}" for n in range(16)) + "]"
connection.execute(f'''COPY (SELECT n % 20000 AS driver_id, n AS trips, 1.5::FLOAT AS rating,
    'Ann' AS name, true AS active, {vector} AS profile,
    TIMESTAMPTZ '2024-01-01 00:00:00Z' + to_microseconds((n // 20000) * 1000000000) AS
    event_timestamp, event_timestamp AS created FROM range(3000000) t(n))
    TO '{folder}/data/driver_stats.parquet' (FORMAT parquet)''')
"""
JOIN = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.support import taxi
store = taxi.store(__import__("pathlib").Path(sys.argv[1]))
sql = '''SELECT (n * 7919) % 20000 AS driver_id, TIMESTAMPTZ '2024-01-01 00:00:00Z' +
    to_microseconds((n * 104729) % 172000 * 1000000) AS event_timestamp FROM range(2000000) t(n)'''
job = store.get_historical_features(sql, ["driver_stats:trips", "driver_stats:profile"])
job.to_parquet(sys.argv[1] + "/result.parquet")
"""


def test_table_larger_than_the_memory_limit_is_joined_within_it(tmp_path):
    """Three million rows with vectors (400 MB raw) and two million entity rows, in 1 GB."""
    taxi.write(tmp_path, {"type": taxi.OURS, "memory_limit": "1GB", "threads": 2}, {})
    subprocess.run([sys.executable, "-c", LARGE, str(tmp_path)], check=True)
    arguments = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        JOIN,
        str(tmp_path),
        str(ROOT),
    ]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, errors.decode()
    assert usage.ru_maxrss * 1024 < 1_000_000_000
    result = pq.ParquetFile(tmp_path / "result.parquet")
    assert result.metadata.num_rows == 2_000_000
    first = result.read_row_group(0).slice(0, 1000).to_pydict()
    for n in range(1000):
        driver, second = (n * 7919) % 20000, (n * 104729) % 172000
        seen = [snapshot for snapshot in range(150) if snapshot * 1000 < second]
        expected = seen[-1] * 20000 + driver if seen else None
        assert (first["driver_id"][n], first["trips"][n]) == (driver, expected)


def test_progress_adds_up_to_every_entity_row(store):
    reported = []
    blocks = joined(store, ["driver_stats:trips"], progress=reported.append)
    assert sum(block.num_rows for block in blocks) == 300
    assert reported == [150, 150]
