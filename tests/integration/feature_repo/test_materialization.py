"""Materialization: in bulk, by changed keys, resumed after a kill, with a progress mark."""

import itertools
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from tests.support.feature_logs import DAY, START, land, moment
from tests.support.forked import child, run_program
from tests.support.online_stores import (
    ENGINE,
    GUARDED,
    empty,
    offline,
    online,
    opened,
    place_of,
    redis_of,
    refs_of,
    sqlite_of,
    written,
)
from tests.support.places import ROOT

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

MANY = 60
NAMES = [f"u{number:03d}" for number in range(MANY)]
VIEW = "user_demographics"
END = START + 20 * DAY


one_store = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""For decisions made before any store is written."""


@pytest.fixture
def place(request, kind, tmp_path):
    return place_of(kind, tmp_path, request)


@pytest.fixture
def store(kind, tmp_path, place):
    """A store over an empty lake with nothing online, and one view of many users."""
    store = opened(kind, tmp_path, place, objects=users())
    empty(store)
    return store


def users() -> list:
    from feature_repo.views.user import user, user_demographics

    return [user, user_demographics]


def version(user: str, age: int, since: int, learned: int | None = None) -> dict:
    at = START + since
    created = at if learned is None else START + learned
    return {"user_id": user, "age_min": age, "event_timestamp": at, "created_timestamp": created}


def land_users(store, rows: list[dict]) -> None:
    land(Path(store.config.offline_store.home), {"users": rows})


def materialize(store, until: int = END, view: str = VIEW) -> int:
    """Materializes a view up to an instant; returns the number of rows changed."""
    store.materialize(moment(START), moment(until), [view])
    return written(store, view)


def assert_same(store, t: int = END, names=(*NAMES, "unknown")) -> None:
    refs = refs_of(store, "user_id")
    assert online(store, "user_id", names, refs) == offline(store, "user_id", names, refs, t)


def ages(store, *names: str) -> list:
    return online(store, "user_id", names, [f"{VIEW}:age_min"])["age_min"]


def test_second_run_to_the_same_target_changes_nothing(store):
    land_users(store, [version(name, 30, 0) for name in NAMES])
    assert materialize(store) == MANY
    assert materialize(store) == 0
    assert_same(store)


def test_later_instant_writes_the_keys_that_changed_until_then(store):
    land_users(store, [version(name, 30, 0) for name in NAMES])
    land_users(store, [version(name, 31, 21 * DAY) for name in NAMES[:7]])
    assert materialize(store) == MANY
    assert materialize(store, START + 21 * DAY) == 0
    assert materialize(store, START + 21 * DAY + 1) == 7
    assert_same(store, START + 21 * DAY + 1)


def test_later_version_of_the_lake_writes_the_keys_whose_newest_row_changed(store):
    land_users(store, [version(name, 30, 0) for name in NAMES])
    materialize(store)
    # One is new, one was corrected, and one came late but is not the newest.
    late = [version("new", 1, DAY), version("u003", 31, DAY), version("u004", 29, -DAY)]
    land_users(store, late)
    assert materialize(store) == 2
    assert ages(store, "new", "u003", "u004") == [1, 31, 30]
    assert_same(store)


def test_key_missing_in_another_lake_is_removed(store):
    land_users(store, [version("u001", 30, 0), version("u002", 30, 10 * DAY)])
    materialize(store)
    other_lake(store)
    land_users(store, [version("u001", 40, DAY)])
    assert materialize(store) == 2
    assert ages(store, "u001", "u002") == [40, None]
    assert_same(store)


def test_key_without_a_row_in_a_later_version_is_removed(store):
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    land_users(store, [version(name, 30, 0) for name in NAMES])
    materialize(store)
    land_users(store, [version("u001", 31, DAY)])
    offline(store, "user_id", ["u001"], refs_of(store, "user_id"), END)
    [rows] = Path(store.config.offline_store.home).glob(f"features/000002-*/{VIEW}.parquet")
    published = pq.read_table(rows)
    pq.write_table(published.filter(pc.not_equal(published["user_id"], "u002")), rows)
    assert materialize(store) == 2
    assert ages(store, "u001", "u002", "u003") == [31, None, 30]
    assert_same(store)


@one_store
def test_another_lake_that_ends_earlier_replaces_the_online_rows(store):
    land_users(store, [version("u001", 30, 15 * DAY)])
    materialize(store)
    other_lake(store)
    land_users(store, [version("u001", 40, DAY)])
    materialize(store, START + 10 * DAY)
    assert ages(store, "u001") == [40]


def other_lake(store) -> None:
    import shutil

    for folder in ("lake", "features"):
        shutil.rmtree(Path(store.config.offline_store.home) / folder)


@one_store
def test_everything_is_written_if_the_rows_to_compare_with_were_removed(store):
    import shutil

    home = Path(store.config.offline_store.home)
    land_users(store, [version(name, 30, 0) for name in NAMES])
    materialize(store)
    land_users(store, [version("u001", 31, DAY)])
    shutil.rmtree(home / "features")
    assert materialize(store) == MANY
    assert_same(store)


def test_everything_is_written_when_the_online_store_was_emptied(store):
    land_users(store, [version(name, 30, 0) for name in NAMES])
    materialize(store)
    empty(store)
    assert materialize(store) == MANY
    assert_same(store)


@one_store
def test_everything_is_written_when_the_view_has_other_columns(kind, tmp_path, place):
    [user, _] = users()
    store = opened(kind, tmp_path, place, objects=[user, shoppers({"age_min": "age"})])
    empty(store)
    land_users(store, [version(name, 30, 0) for name in NAMES])
    assert materialize(store, view="shoppers") == MANY
    store.apply([shoppers({"age_min": "age", "kids_count": "kids"})])
    assert materialize(store, view="shoppers") == MANY
    assert materialize(store, view="shoppers") == 0


@one_store
def test_view_of_another_repository_can_rename_the_lake_s_columns(kind, tmp_path, place):
    [user, _] = users()
    store = opened(kind, tmp_path, place, objects=[user, shoppers({"age_min": "age"})])
    empty(store)
    land_users(store, [version("u001", 30, 0)])
    materialize(store, view="shoppers")
    land_users(store, [version("u001", 31, DAY), version("u002", 50, DAY)])
    assert materialize(store, view="shoppers") == 2
    found = online(store, "user_id", ["u001", "u002"], ["shoppers:age"])
    assert found == offline(store, "user_id", ["u001", "u002"], ["shoppers:age"], END)
    assert found["age"] == [31, 50]


def shoppers(fields: dict[str, str]):
    from feast import FeatureView, Field, FileSource
    from feast.types import Int64

    [user, _] = users()
    return FeatureView(
        name="shoppers",
        entities=[user],
        ttl=timedelta(days=36_500),
        schema=[Field(name=name, dtype=Int64) for name in fields.values()],
        source=FileSource(
            name="shoppers_source",
            path=f"lake://{VIEW}",
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
            field_mapping=fields,
        ),
    )


def pinned(kind, store, place, number: int):
    """The same store in a repository with a pinned version of the lake."""
    again = opened(kind, Path(store.config.offline_store.home), place, objects=users())
    again.config.offline_store.lake_version = number
    return again


@one_store
def test_older_version_of_the_lake_changes_nothing(kind, store, place):
    land_users(store, [version("u001", 30, 10 * DAY)])
    land_users(store, [version("u001", 31, 2 * DAY, learned=12 * DAY)])
    materialize(store)
    older = pinned(kind, store, place, 1)
    assert materialize(older) == 0
    assert ages(store, "u001") == [31]


@one_store
def test_older_version_of_the_lake_cannot_continue_from_a_later_one(kind, store, place):
    from feature_repo.lake.state import LakeError

    land_users(store, [version("u001", 30, 0)])
    land_users(store, [version("u001", 31, DAY)])
    materialize(store)
    with pytest.raises(LakeError, match="has version 2 of the lake up to .*use version 2"):
        materialize(pinned(kind, store, place, 1), END + DAY)


@one_store
def test_end_beyond_the_watermark_is_refused(store):
    from feature_repo.lake.state import LakeError

    land_users(store, [version("u001", 30, 0)])
    with pytest.raises(LakeError, match="The lake is complete up to"):
        materialize(store, START + 500 * DAY)


def push(store, age: int, at: int) -> None:
    row = {"user_id": "u001", "event_timestamp": moment(at), "created_timestamp": moment(at)}
    fields = {field.name: None for field in store.get_feature_view(VIEW).features}
    frame = pd.DataFrame([row | fields | {"age_min": age}])
    store.write_to_online_store(VIEW, frame)


def test_row_pushed_later_stays_and_an_earlier_one_is_replaced(store):
    land_users(store, [version("u001", 30, 0)])
    materialize(store)
    push(store, 99, END)
    land_users(store, [version("u001", 31, DAY)])
    materialize(store)
    assert ages(store, "u001") == [99]
    land_users(store, [version("u001", 32, 2 * DAY)])
    materialize(store, END + 1)
    assert ages(store, "u001") == [32]


def run_until(kind: str, home: str, place: dict, batches: int, end: int, pipe) -> None:
    """Materializes in batches of ten, reports each, and stops for a minute after some of them."""
    store = opened(kind, Path(home), place, objects=users())
    store.config.materialization_config.online_write_batch_size = 10
    online_store = store.provider.online_store
    write, count = online_store.write_table, itertools.count(1)

    def write_and_report(*arguments):
        found = write(*arguments)
        pipe.send("batch")
        if next(count) >= batches:
            time.sleep(60)
        return found

    online_store.write_table = write_and_report
    store.materialize(moment(START), moment(end), [VIEW])
    pipe.send("done")


def killed(kind: str, store, place: dict, batches: int, end: int = END) -> None:
    """Materializes in another process, which is killed after some batches of ten."""
    home = store.config.offline_store.home
    with child(run_until, kind, home, place, batches, end) as (_process, pipe):
        assert [pipe.recv() for _ in range(batches)] == ["batch"] * batches


def test_killed_run_resumes_where_it_stopped(kind, store, place):
    land_users(store, [version(name, 30, 0) for name in NAMES])
    killed(kind, store, place, batches=2)
    assert ages(store, "u019", "u020") == [30, None]
    assert materialize(store) == MANY - 20
    assert_same(store)


def test_killed_run_of_changed_keys_resumes_where_it_stopped(kind, store, place):
    land_users(store, [version(name, 30, 0) for name in NAMES])
    materialize(store)
    land_users(store, [version(name, 31, DAY) for name in NAMES[:35]])
    killed(kind, store, place, batches=1)
    assert materialize(store) == 25
    assert materialize(store) == 0
    assert_same(store)


def test_after_a_killed_run_another_target_is_written_completely(kind, store, place):
    land_users(store, [version(name, 30, 10 * DAY) for name in NAMES])
    materialize(store, START + 11 * DAY)
    # A later version reverts one of the changes that the killed run wrote.
    land_users(store, [version(name, 31, 12 * DAY) for name in NAMES])
    killed(kind, store, place, batches=2)
    land_users(store, [version("u001", 29, 2 * DAY, learned=12 * DAY + 1)])
    assert materialize(store, END - DAY) == MANY
    assert_same(store, END - DAY)


def test_of_two_concurrent_runs_one_stops_with_an_error(kind, store, place):
    from feature_repo.online.format.progress_mark import MaterializationRefused

    land_users(store, [version(name, 30, 0) for name in NAMES])
    other = opened(kind, Path(store.config.offline_store.home), place, objects=users())
    store.config.materialization_config.online_write_batch_size = 10
    online_store = store.provider.online_store
    write = online_store.write_table

    def interrupted(*arguments):
        written = write(*arguments)
        online_store.write_table = write
        land_users(store, [version(name, 31, DAY) for name in NAMES])
        assert materialize(other) == MANY
        return written

    online_store.write_table = interrupted
    with pytest.raises(MaterializationRefused, match="Another run took over .*user_demographics"):
        materialize(store)
    assert ages(store, "u000", "u010", "u059") == [31, 31, 31]
    assert materialize(store) == 0


def test_run_with_an_outdated_mark_reads_it_again(kind, store, place):
    land_users(store, [version(name, 30, 0) for name in NAMES])
    other = opened(kind, Path(store.config.offline_store.home), place, objects=users())
    online_store = store.provider.online_store
    read = online_store.read_mark

    def overtaken(*arguments):
        held = read(*arguments)
        online_store.read_mark = read
        materialize(other)
        return held

    online_store.read_mark = overtaken
    assert materialize(store) == 0
    assert_same(store)


def test_rows_with_key_ttl_are_written_every_time(tmp_path, redis_address):
    place = {"connection_string": redis_address}
    store = opened("redis", tmp_path, place, objects=users(), key_ttl_seconds=1000)
    empty(store)
    land_users(store, [version(name, 30, 0) for name in NAMES])
    assert [materialize(store), materialize(store)] == [MANY, MANY]
    assert_same(store)


def test_removing_a_view_removes_its_mark(kind, store):
    land_users(store, [version(name, 30, 0) for name in NAMES])
    materialize(store)
    [user, view] = users()
    store.apply([user], objects_to_delete=[view], partial=False)
    store.apply([user, view])
    assert ages(store, "u001") == [None]
    assert materialize(store) == MANY


def test_feast_s_own_store_removes_the_mark_with_the_rows(kind, store, place):
    land_users(store, [version(name, 30, 0) for name in NAMES])
    materialize(store)
    home = Path(store.config.offline_store.home)
    [user, view] = users()
    plain = opened(kind, home, place, ours=False, objects=[user, view])
    plain.apply([user], objects_to_delete=[view], partial=False)
    plain.apply([user, view])
    assert materialize(store) == MANY
    assert_same(store)


def drivers(folder: Path, rows: int = 25) -> list:
    """A foreign view with every kind of column, over a file."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Array, Bool, Float32, Float64, Int64, String, UnixTimestamp

    noon = datetime(2024, 3, 10, 12, tzinfo=UTC)
    numbers = range(rows)
    frame = pd.DataFrame(
        {
            "driver_id": [f"d{number % 20:02d}" for number in numbers],
            "trips": [None if number % 7 == 3 else number for number in numbers],
            "rating": [number / 3 for number in numbers],
            "share": [number / 7 for number in numbers],
            "name": [None if number % 5 == 2 else f"ñ{number}" for number in numbers],
            "active": [number % 2 == 0 for number in numbers],
            "since": [noon - timedelta(days=number) for number in numbers],
            "vector": [[float(number), 0.5] for number in numbers],
            "tags": [["a", f"t{number}"][: number % 3] for number in numbers],
            "at": [noon + timedelta(milliseconds=number) for number in numbers],
            "learned": [noon + timedelta(hours=number % 3) for number in numbers],
        }
    ).astype(
        {
            "trips": "Int64",
            "since": "datetime64[us, UTC]",
            "at": "datetime64[us, UTC]",
            "learned": "datetime64[us, UTC]",
        }
    )
    frame.to_parquet(folder / "drivers.parquet")
    kinds = {
        "trips": Int64,
        "rating": Float64,
        "share": Float32,
        "name": String,
        "active": Bool,
        "since": UnixTimestamp,
        "vector": Array(Float64),
        "tags": Array(String),
    }
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="driver_stats",
        entities=[driver],
        ttl=timedelta(days=36_500),
        schema=[Field(name=name, dtype=dtype) for name, dtype in kinds.items()],
        source=FileSource(
            name="drivers",
            path=str(folder / "drivers.parquet"),
            timestamp_field="at",
            created_timestamp_column="learned",
        ),
    )
    return [driver, view]


SPAN = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)


def stored(kind: str, store) -> dict:
    """All rows of the drivers' view in Feast's own form."""
    if kind == "redis":
        client = redis_of(store)
        keys = client.scan_iter(b"*driver_id*")
        return {
            key: {f: v for f, v in client.hgetall(key).items() if not f.startswith(b"_created")}
            for key in keys
        }
    rows = sqlite_of(store).execute(
        "SELECT entity_key, feature_name, value, value_text, event_ts, created_ts "
        f'FROM "{store.project}_driver_stats"'
    )
    return {row[:2]: row[2:] for row in rows}


def test_rows_stored_from_another_repository_s_file_equal_feast_s_own(kind, tmp_path, place):
    objects = drivers(tmp_path)
    found = []
    for ours in (True, False):
        store = opened(kind, tmp_path, place, ours=ours, objects=objects)
        empty(store)
        store.materialize(*SPAN)
        found.append(stored(kind, store))
    assert found[0] == found[1]
    assert len(found[0]) == 20 * (8 if kind == "sqlite" else 1)


@one_store
def test_small_batches_of_a_file_write_the_same_rows(kind, tmp_path, place):
    store = opened(kind, tmp_path, place, objects=drivers(tmp_path))
    empty(store)
    store.config.materialization_config.online_write_batch_size = 3
    store.materialize(*SPAN)
    assert written(store, "driver_stats") == 20
    store.materialize(*SPAN)
    found = store.get_online_features(["driver_stats:trips"], [{"driver_id": "d03"}]).to_dict()
    assert found["trips"] == [23]


def test_error_names_the_missing_column_of_a_file(tmp_path):
    objects = drivers(tmp_path)
    store = opened("sqlite", tmp_path, {"path": f"{tmp_path}/online.db"}, objects=objects)
    pd.read_parquet(tmp_path / "drivers.parquet").drop(columns="trips").to_parquet(
        tmp_path / "drivers.parquet"
    )
    with pytest.raises(Exception, match="trips"):
        store.materialize(*SPAN)


def test_feast_s_engine_materializes_to_feast_s_own_store(tmp_path):
    from feast import FeatureStore, RepoConfig

    config = RepoConfig(
        project="clipwise",
        provider="local",
        registry=f"{tmp_path}/registry.db",
        offline_store={"type": "feature_repo.point_in_time.PointInTimeOfflineStore"},
        online_store={"type": "sqlite", "path": f"{tmp_path}/online.db"},
        batch_engine=ENGINE,
        entity_key_serialization_version=3,
        repo_path=str(tmp_path),
    )
    store = FeatureStore(config=config)
    store.apply(drivers(tmp_path))
    store.materialize(*SPAN)
    found = store.get_online_features(["driver_stats:trips"], [{"driver_id": "d03"}]).to_dict()
    assert found["trips"] == [23]
    assert written(store, "driver_stats") is None


REPOSITORY = """
project: taxi
provider: local
registry: data/registry.db
offline_store:
  type: feature_repo.point_in_time.PointInTimeOfflineStore
online_store:
  type: {online}
  {place}
batch_engine:
  type: feature_repo.materialization.IncrementalComputeEngine
entity_key_serialization_version: 3
"""
DEFINITIONS = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.integration.feature_repo.test_materialization import drivers
driver, driver_stats = drivers(Path({folder!r}))
"""


def test_feast_s_commands_work_with_the_stores_and_the_engine(kind, tmp_path, place):
    repository = tmp_path / "taxi"
    (repository / "data").mkdir(parents=True)
    [(name, value)] = place.items()
    settings = REPOSITORY.format(
        online=GUARDED[kind], place=f"{name}: {'data/online.db' if kind == 'sqlite' else value}"
    )
    (repository / "feature_store.yaml").write_text(settings)
    path = [str(ROOT)]
    folder = str(repository / "data")
    (repository / "definitions.py").write_text(DEFINITIONS.format(path=path, folder=folder))
    run_feast(["apply"], repository)
    run_feast(["materialize", "2024-03-01T00:00:00", "2024-03-10T12:00:01"], repository)
    run_feast(["-c", "taxi", "materialize-incremental", "2024-04-01T00:00:00"], tmp_path)
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(repository))
    found = store.get_online_features(["driver_stats:trips"], [{"driver_id": "d03"}]).to_dict()
    assert found["trips"] == [23]


def run_feast(arguments: list[str], where: Path) -> None:
    """Runs a command of ``feast`` in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "CLIPWISE_HOME"}
    environment["PYTHONWARNINGS"] = "ignore"
    done = run_program("feast.cli.cli:cli", arguments, environment, where, timeout=120)
    assert done.returncode == 0, done.stderr


def test_mark_taken_by_another_run_during_a_batch_stays_that_run_s(tmp_path, redis_address):
    from feature_repo.online.format.progress_mark import (
        MaterializationRefused,
        ProgressMark,
        Target,
    )
    from feature_repo.online.redis.guard import RedisView

    place = {"connection_string": redis_address}
    store = opened("redis", tmp_path, place, objects=users())
    empty(store)
    stored_view = RedisView.of(redis_of(store), store.config, store.get_feature_view(VIEW))
    target = Target(version=1, digest="d", until=moment(END), layout="l")
    first, second = (ProgressMark(run, target, None, moment(END)) for run in ("first", "second"))
    assert stored_view.begin_run(first, None)
    with pytest.raises(MaterializationRefused), stored_view.advancing(first):
        assert stored_view.begin_run(second, first)
    assert stored_view.read_mark() == second
    assert not stored_view.begin_run(first, first)
