"""The guards of the online stores: newest wins, two writers, row ttl, and Feast's own rows."""

import asyncio
import itertools
import random
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.forked import child
from tests.support.online_stores import opened, place_of, redis_of, redis_server, sqlite_of

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FIELDS = ["trips", "name"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def place(request, kind, home):
    return place_of(kind, home, request)


@pytest.fixture(scope="module")
def store(kind, home, place):
    return opened(kind, home, place, objects=driving(home))


@pytest.fixture(scope="module")
def plain(kind, home, place):
    """Feast's own store over the same data."""
    return opened(kind, home, place, ours=False, objects=driving(home))


DRIVERS = itertools.count(1)


def new_driver() -> str:
    """Returns the id of a driver that no other test uses."""
    return f"d{next(DRIVERS)}"


@pytest.fixture
def driver():
    return new_driver()


def driving(home: Path) -> list:
    """A foreign view of drivers with a created timestamp, and a second one with a ttl."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Int64, String

    path = home / "drivers.parquet"
    if not path.exists():
        columns = {"driver_id": [], "trips": [], "name": [], "at": [], "learned": []}
        pd.DataFrame(columns).to_parquet(path)
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.STRING)
    schema = [Field(name="trips", dtype=Int64), Field(name="name", dtype=String)]

    def view(name: str, ttl: timedelta) -> FeatureView:
        source = FileSource(
            name=f"{name}_source",
            path=str(path),
            timestamp_field="at",
            created_timestamp_column="learned",
        )
        return FeatureView(name=name, entities=[driver], ttl=ttl, schema=schema, source=source)

    return [driver, view("driver_stats", timedelta(0)), view("driver_now", timedelta(hours=1))]


def push(store, driver: str, trips: int, at: datetime, learned=None, view="driver_stats") -> None:
    """Writes one row through Feast's row-by-row interface."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    key = EntityKey(join_keys=["driver_id"], entity_values=[Value(string_val=driver)])
    values = {"trips": Value(int64_val=trips), "name": Value(string_val=f"n{trips}")}
    store.provider.online_write_batch(
        store.config, store.get_feature_view(view), [(key, values, at, learned)], None
    )


def load(store, rows: list[tuple], view="driver_stats") -> int:
    """Writes (driver, trips, at, learned) rows as an Arrow table; returns the rows changed."""
    names, trips, at, learned = zip(*rows, strict=True)
    instants = pa.timestamp("us", "UTC")
    batch = pa.record_batch(
        {
            "driver_id": pa.array(names),
            "trips": pa.array(trips, pa.int64()),
            "name": pa.array([f"n{one}" for one in trips]),
            "at": pa.array(at, instants),
            "learned": pa.array(learned, instants),
        }
    )
    online_store = store.provider.online_store
    return online_store.write_table(store.config, store.get_feature_view(view), batch)


def read(store, driver: str, view="driver_stats") -> dict:
    refs = [f"{view}:{field}" for field in FIELDS]
    found = store.get_online_features(refs, [{"driver_id": driver}]).to_dict()
    return {field: found[field][0] for field in FIELDS}


def trips(store, driver: str, view="driver_stats"):
    return read(store, driver, view)["trips"]


BEFORE_1970 = datetime(1969, 12, 31, 23, tzinfo=UTC)

steps = st.sampled_from((0, 1, 2, 999_999, 1_000_000, 3_600_000_000, -1, -1_000_000))
writes = st.lists(st.tuples(steps, st.none() | steps, st.booleans()), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(writes=writes, base=st.sampled_from((NOON, BEFORE_1970)))
@example(writes=[(0, 3_600_000_000, False), (0, None, False)], base=BEFORE_1970)
@example(writes=[(0, None, True), (0, -1, True), (0, 0, False)], base=NOON)
@example(writes=[(0, 1, True), (0, None, True), (0, 1, False)], base=NOON)
def test_the_newest_row_wins_whatever_the_order_to_the_microsecond(store, writes, base):
    name, best, expected = new_driver(), None, None
    for number, (event, learned, in_bulk) in enumerate(writes):
        at = base + event * MICROSECOND
        created = None if learned is None else at + learned * MICROSECOND
        if in_bulk:
            load(store, [(name, number, at, created)])
        else:
            push(store, name, number, at, created)
        stamp = (at, created or at)
        if best is None or stamp >= best:
            best, expected = stamp, number
    assert read(store, name) == {"trips": expected, "name": f"n{expected}"}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(writes=writes)
def test_of_one_key_twice_in_a_batch_the_newest_row_wins(store, writes):
    name, rows, stamps = new_driver(), [], []
    for number, (event, learned, _) in enumerate(writes):
        at = NOON + event * MICROSECOND
        created = None if learned is None else at + learned * MICROSECOND
        rows.append((name, number, at, created))
        stamps.append((at, created or at, number))
    load(store, rows)
    assert trips(store, name) == max(stamps)[2]


def test_write_returns_the_number_of_rows_changed(store, driver):
    assert load(store, [(driver, 1, NOON, NOON), (f"{driver}b", 1, NOON, NOON)]) == 2
    assert load(store, [(driver, 0, NOON - MICROSECOND, NOON), (f"{driver}b", 2, NOON, NOON)]) == 1


def test_older_row_does_not_replace_one_of_feast_s_own_store(store, plain, driver):
    push(plain, driver, 1, NOON, NOON)
    push(store, driver, 2, NOON - timedelta(seconds=1))
    assert trips(store, driver) == trips(plain, driver) == 1
    load(store, [(driver, 3, NOON + timedelta(seconds=1), None)])
    assert trips(store, driver) == trips(plain, driver) == 3


def test_later_write_of_feast_s_own_store_counts(kind, store, plain, driver):
    """Our stored instant of learning is not applied to another row."""
    push(store, driver, 1, NOON + timedelta(seconds=1), NOON + timedelta(hours=1))
    push(plain, driver, 2, NOON + timedelta(seconds=2), None)
    push(store, driver, 3, NOON + timedelta(seconds=2), NOON + timedelta(seconds=2))
    assert trips(store, driver) == 3
    if kind == "sqlite":
        # Feast's own store replaces a newer row by an older one, and that row is then compared.
        push(plain, driver, 4, NOON - timedelta(hours=1), None)
        push(store, driver, 5, NOON - timedelta(minutes=59), None)
        assert trips(store, driver) == 5


def test_feast_s_own_store_reads_both_ways_of_writing(store, plain, driver):
    push(store, driver, 1, NOON)
    load(store, [(f"{driver}b", 2, NOON, NOON)])
    assert read(plain, driver) == {"trips": 1, "name": "n1"}
    assert read(plain, f"{driver}b") == {"trips": 2, "name": "n2"}


@pytest.mark.parametrize("in_bulk", [False, True])
def test_the_stored_bytes_are_those_of_feast_s_own_store(kind, store, plain, driver, in_bulk):
    at, learned = NOON + timedelta(microseconds=250_000), NOON + timedelta(minutes=1)
    push(plain, f"{driver}x", 7, at, learned)
    if in_bulk:
        load(store, [(f"{driver}y", 7, at, learned)])
    else:
        push(store, f"{driver}y", 7, at, learned)
    assert stored(kind, store, f"{driver}y") == stored(kind, store, f"{driver}x")


def stored(kind: str, store, driver: str) -> dict:
    """The fields of a driver in Feast's own form."""
    key = entity_key(driver)
    if kind == "redis":
        found = redis_of(store).hgetall(key + store.project.encode())
        return {name: value for name, value in found.items() if not name.startswith(b"_created")}
    rows = sqlite_of(store).execute(
        "SELECT feature_name, value, value_text, vector_value, event_ts, created_ts "
        f'FROM "{store.project}_driver_stats" WHERE entity_key = ?',
        (key,),
    )
    return {row[0]: row[1:] for row in rows}


def entity_key(driver: str) -> bytes:
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    key = EntityKey(join_keys=["driver_id"], entity_values=[Value(string_val=driver)])
    return serialize_entity_key(key, 3)


def write_half(kind: str, home: str, place: dict, writer: int, pipe) -> None:
    """Writes every other number to twenty drivers, in random order, four numbers at a time."""
    store = opened(kind, Path(home), place, objects=driving(Path(home)))
    numbers = list(range(writer, 400, 2))
    random.Random(writer).shuffle(numbers)
    pipe.send("ready")
    pipe.recv()
    for start in range(0, len(numbers), 4):
        rows = [
            (f"hot{driver}", number, NOON + number * MICROSECOND, None)
            for number in numbers[start : start + 4]
            for driver in range(20)
        ]
        load(store, rows)


def test_two_processes_writing_the_same_keys_leave_the_newest_row_of_each(kind, store, home, place):
    arguments = kind, str(home), place
    with (
        child(write_half, *arguments, 0) as (first, to_first),
        child(write_half, *arguments, 1) as (second, to_second),
    ):
        assert [to_first.recv(), to_second.recv()] == ["ready", "ready"]
        to_first.send("go")
        to_second.send("go")
        for process in (first, second):
            process.join(timeout=120)
        assert [first.exitcode, second.exitcode] == [0, 0]
    for driver in range(20):
        assert read(store, f"hot{driver}") == {"trips": 399, "name": "n399"}


@pytest.fixture(scope="module")
def replayed(kind, home, place):
    """The store with an ``as_of`` in its settings."""
    return opened(kind, home, place, objects=driving(home), as_of=NOON.isoformat())


def test_row_past_its_ttl_is_absent_to_the_microsecond(replayed, driver):
    limit = NOON - timedelta(hours=1)
    push(replayed, driver, 1, limit, view="driver_now")
    assert trips(replayed, driver, "driver_now") == 1
    push(replayed, f"{driver}b", 1, limit - MICROSECOND, view="driver_now")
    assert read(replayed, f"{driver}b", "driver_now") == {"trips": None, "name": None}


def test_row_within_the_second_of_its_limit_is_compared_by_microseconds(kind, home, place, driver):
    limit = NOON + timedelta(microseconds=500_000)
    as_of = (limit + timedelta(hours=1)).isoformat()
    store = opened(kind, home, place, objects=driving(home), as_of=as_of)
    push(store, driver, 1, limit + MICROSECOND, view="driver_now")
    push(store, f"{driver}b", 1, limit - MICROSECOND, view="driver_now")
    assert trips(store, driver, "driver_now") == 1
    assert trips(store, f"{driver}b", "driver_now") is None


def test_only_the_row_past_its_ttl_has_status_outside_max_age(replayed, driver):
    push(replayed, driver, 1, NOON - timedelta(hours=2), view="driver_now")
    push(replayed, f"{driver}b", 2, NOON, view="driver_now")
    push(replayed, driver, 3, NOON - timedelta(hours=2))
    refs = ["driver_now:trips", "driver_stats:trips"]
    ids = [{"driver_id": driver}, {"driver_id": f"{driver}b"}, {"driver_id": "unknown"}]
    proto = replayed.get_online_features(refs, ids, full_feature_names=True).proto
    names = list(proto.metadata.feature_names.val)
    found = {name: proto.results[number] for number, name in enumerate(names)}
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus as Status

    now, stats = found["driver_now__trips"], found["driver_stats__trips"]
    assert list(now.statuses)[:2] == [Status.OUTSIDE_MAX_AGE, Status.PRESENT]
    assert now.statuses[2] != Status.OUTSIDE_MAX_AGE
    assert now.values[0].WhichOneof("val") is None
    assert now.event_timestamps[0].ToDatetime(UTC) == NOON - timedelta(hours=2)
    # A view without a ttl keeps its row for ever.
    assert stats.statuses[0] == Status.PRESENT
    assert stats.values[0].int64_val == 3


def test_online_read_returns_no_values_of_a_row_past_its_ttl(replayed, driver):
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    push(replayed, driver, 1, NOON - timedelta(hours=2), view="driver_now")
    key = EntityKey(join_keys=["driver_id"], entity_values=[Value(string_val=driver)])
    online_store, view = replayed.provider.online_store, replayed.get_feature_view("driver_now")
    [(at, values)] = online_store.online_read(replayed.config, view, [key], ["trips"])
    assert (at, values) == (NOON - timedelta(hours=2), None)


def test_the_clock_of_the_store_can_be_set(kind, home, place, driver):
    store = opened(kind, home, place, objects=driving(home))
    push(store, driver, 1, NOON, view="driver_now")
    assert trips(store, driver, "driver_now") is None
    store.provider.online_store.clock = lambda: NOON + timedelta(hours=1)
    assert trips(store, driver, "driver_now") == 1


def test_asynchronous_reads_and_writes_are_guarded_too(kind, replayed, driver):
    if kind == "sqlite":
        pytest.skip("Feast's SQLite store has no asynchronous interface")
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    key = EntityKey(join_keys=["driver_id"], entity_values=[Value(string_val=driver)])
    online_store = replayed.provider.online_store
    now, stats = (replayed.get_feature_view(name) for name in ("driver_now", "driver_stats"))

    async def written(view, trips: int, at: datetime) -> None:
        row = (key, {"trips": Value(int64_val=trips)}, at, None)
        await online_store.online_write_batch_async(replayed.config, view, [row], None)

    async def used() -> tuple:
        await written(stats, 1, NOON)
        await written(stats, 2, NOON - MICROSECOND)
        await written(now, 1, NOON - timedelta(hours=2))
        [(_, direct)] = await online_store.online_read_async(replayed.config, now, [key], ["trips"])
        refs = ["driver_stats:trips", "driver_now:trips"]
        found = await replayed.get_online_features_async(
            refs, [{"driver_id": driver}], full_feature_names=True
        )
        await online_store.close()
        return direct, found.to_dict()

    direct, found = asyncio.run(used())
    assert direct is None
    assert found["driver_stats__trips"] == [1]
    assert found["driver_now__trips"] == [None]


@pytest.mark.parametrize("text", ["yesterday", "2024-03-10T12:00:00"])
def test_as_of_that_is_no_instant_is_refused_in_one_sentence(kind, home, place, text):
    from feature_repo.lake.state import LakeError

    with pytest.raises(LakeError, match="as_of is no instant") as refused:
        opened(kind, home, place, objects=[], as_of=text)
    assert "\n" not in str(refused.value)


def test_removing_a_view_removes_our_own_data_beside_its_rows(kind, tmp_path, request):
    place = place_of(kind, tmp_path, request)
    objects = driving(tmp_path)
    store = opened(kind, tmp_path, place, objects=objects)
    push(store, "gone", 1, NOON, NOON + timedelta(hours=1))
    push(store, "gone", 2, NOON, NOON + timedelta(hours=1), view="driver_now")
    store.apply(objects[:1], objects_to_delete=[objects[1]], partial=False)
    if kind == "redis":
        left = redis_of(store).hkeys(entity_key("gone") + store.project.encode())
        assert not [name for name in left if name.endswith(b":driver_stats")]
        assert b"_ts:driver_now" in left
    else:
        names = sqlite_of(store).execute("SELECT name FROM sqlite_master")
        assert not [name for (name,) in names if "driver_stats" in name]


def test_row_of_many_features_is_split_for_lua_s_registers(kind, tmp_path, request):
    from feast import FeatureView, Field, FileSource
    from feast.types import Int64

    names = [f"f{number:03d}" for number in range(450)]
    [driver, *_] = driving(tmp_path)
    source = FileSource(path=str(tmp_path / "drivers.parquet"), timestamp_field="at")
    schema = [Field(name=name, dtype=Int64) for name in names]
    wide = FeatureView(name="wide", entities=[driver], schema=schema, source=source)
    store = opened(kind, tmp_path, place_of(kind, tmp_path, request), objects=[driver, wide])
    values = {name: pa.array([number, None]) for number, name in enumerate(names)}
    batch = pa.record_batch(
        {"driver_id": pa.array(["w1", "w2"]), "at": pa.array([NOON, NOON])} | values
    )
    online_store = store.provider.online_store
    assert online_store.write_table(store.config, store.get_feature_view("wide"), batch) == 2
    refs = ["wide:f000", "wide:f449"]
    found = store.get_online_features(refs, [{"driver_id": "w1"}, {"driver_id": "w2"}]).to_dict()
    assert (found["f000"], found["f449"]) == ([0, None], [449, None])


def test_relative_path_is_in_the_repository_from_any_working_directory(tmp_path, monkeypatch):
    store = opened("sqlite", tmp_path, {"path": "data/online.db"}, objects=driving(tmp_path))
    push(store, "d", 1, NOON)
    assert (tmp_path / "data" / "online.db").exists()
    monkeypatch.chdir("/")
    again = opened("sqlite", tmp_path, {"path": "data/online.db"}, objects=driving(tmp_path))
    assert trips(again, "d") == 1


def test_teardown_leaves_no_file(tmp_path):
    store = opened("sqlite", tmp_path, {"path": "online.db"}, objects=driving(tmp_path))
    push(store, "d", 1, NOON)
    store.teardown()
    assert not list(tmp_path.glob("online.db*"))


def test_rows_in_redis_expire_with_key_ttl_seconds(tmp_path, redis_address):
    place = {"connection_string": redis_address}
    store = opened("redis", tmp_path, place, objects=driving(tmp_path), key_ttl_seconds=1000)
    load(store, [("expiring", 1, NOON, NOON)])
    assert 0 < redis_of(store).ttl(entity_key("expiring") + store.project.encode()) <= 1000


class EmptiedCache:
    """A connection to a Redis whose script cache is emptied while a piece is in flight."""

    def __init__(self, *answers):
        self.sent, self.answers = [], list(answers)

    def send_packed_command(self, command):
        self.sent += command

    def read_response(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_piece_is_sent_again_after_the_script_cache_was_emptied():
    from redis.exceptions import NoScriptError

    from feature_repo.online.redis.calls import send_pipelined

    connection = EmptiedCache(b"sha", 1, NoScriptError(), b"sha", 1, 1, b"sha", 0, 1)
    assert send_pipelined(connection, iter([(b"first", 2), (b"second", 2)])) == 4
    assert connection.sent == [b"first", b"second", b"first"]
    assert not connection.answers


def test_cluster_accepts_the_same_writes(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bus = free.getsockname()[1]
    settings = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--dir", str(tmp_path)]
    with redis_server(*settings) as address:
        form_cluster(address.rsplit(":", 1)[1])
        place = {"connection_string": address, "redis_type": "redis_cluster"}
        store = opened("redis", tmp_path, place, objects=driving(tmp_path))
        rows = [(f"c{number}", number, NOON, None) for number in range(30)]
        assert load(store, rows) == 30
        assert load(store, [("c7", 99, NOON - MICROSECOND, None), ("c8", 99, NOON, None)]) == 1
        assert [trips(store, name) for name in ("c7", "c8", "c29")] == [7, 99, 29]
        redis_of(store).close()


def form_cluster(port: str) -> None:
    """Makes a cluster of one node, and waits until it is ready."""
    command = ["redis-cli", "-p", port, "cluster"]
    subprocess.run([*command, "addslotsrange", "0", "16383"], check=True, capture_output=True)
    for _ in range(200):
        if "cluster_state:ok" in subprocess.check_output([*command, "info"], text=True):
            return
        time.sleep(0.05)
    raise AssertionError("the cluster did not form within ten seconds")
