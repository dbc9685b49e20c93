"""Online equals offline: what was materialized up to t is what history says at t."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from feature_logs import COUPONS, DAY, PRODUCTS, START, USERS, feast_store, land, logs, moment
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

KEYS = {"user_id": (*USERS, "unknown"), "product_id": PRODUCTS, "coupon_id": COUPONS}
ENDS = st.lists(
    st.builds(
        lambda day, part: START + day * DAY + part,
        st.integers(1, 150),
        st.sampled_from((0, DAY // 4, DAY // 2)),
    ),
    min_size=1,
    max_size=2,
    unique=True,
).map(sorted)


@pytest.fixture(scope="module")
def redis_address():
    """A Redis of our own on a free port, stopped by its own id."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed, so Redis is not tested")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield _answering(port, process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answering(port: int, process: subprocess.Popen) -> str:
    for _ in range(200):
        assert process.poll() is None, "redis-server ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return f"127.0.0.1:{port}"
        time.sleep(0.05)
    raise AssertionError("redis-server did not answer within ten seconds")


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def store(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    if request.param == "sqlite":
        return feast_store(home)
    address = request.getfixturevalue("redis_address")
    return feast_store(home, {"type": "redis", "connection_string": address, "skip_dedup": True})


def reset(store, log: dict) -> None:
    home = Path(store.config.offline_store.home)
    for folder in ("lake", "features"):
        shutil.rmtree(home / folder, ignore_errors=True)
    land(home, log)
    online_store = store._provider.online_store
    if store.config.online_store.type == "redis":
        online_store._get_client(store.config.online_store).flushall()
        return
    connection = online_store._get_conn(store.config)
    for view in store.list_feature_views():
        connection.execute(f'DELETE FROM "{store.project}_{view.name}"')
    connection.commit()


def refs_of(store, key: str) -> list[str]:
    views = [v for v in store.list_feature_views() if v.entity_columns[0].name == key]
    return [f"{view.name}:{field.name}" for view in views for field in view.features]


def online(store, key: str, ids, refs) -> dict:
    found = store.get_online_features(refs, [{key: one} for one in ids]).to_dict()
    return {name: [_plain(value) for value in values] for name, values in found.items()}


def offline(store, key: str, ids, refs, t: int) -> dict:
    entities = pd.DataFrame({key: ids, "event_timestamp": [moment(t)] * len(ids)})
    found = store.get_historical_features(entities, refs).to_arrow()
    columns = found.drop_columns(["event_timestamp"]).to_pydict()
    return {name: [_plain(value) for value in values] for name, values in columns.items()}


def _plain(value):
    """Feast answers a list that is not there with an empty one in some of its versions."""
    return list(value) or None if isinstance(value, (list, tuple)) else value


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(log=logs(), ends=ENDS)
def test_online_equals_offline_at_the_end_of_one_or_two_materializations(store, log, ends):
    reset(store, log)
    for start, end in zip([START - DAY, *ends], ends, strict=False):
        store.materialize(moment(start), moment(end))
    for key, ids in KEYS.items():
        refs = refs_of(store, key)
        assert online(store, key, ids, refs) == offline(store, key, ids, refs, ends[-1]), key


def test_what_was_learned_late_reaches_the_online_store(store):
    early, late = _user(30, 0), {**_user(50, 2 * DAY), "user_id": "u2"}
    reset(store, {"users": [early]})
    end = START + 20 * DAY
    store.materialize(moment(START), moment(end), ["user_demographics"])
    land(Path(store.config.offline_store.home), {"users": [late]})
    store.materialize(moment(end), moment(end), ["user_demographics"])
    refs = ["user_demographics:age_min"]
    found = online(store, "user_id", ["u1", "u2"], refs)
    assert found == offline(store, "user_id", ["u1", "u2"], refs, end)


def test_an_older_write_does_not_replace_a_newer_value(tmp_path):
    store = feast_store(tmp_path)
    reset(store, {"users": [_user(30, 0), _user(40, 10 * DAY)]})
    view = ["user_demographics"]
    store.materialize(moment(START), moment(START + 20 * DAY), view)
    store.materialize(moment(START), moment(START + 5 * DAY), view)
    found = online(store, "user_id", ["u1"], ["user_demographics:age_min"])
    assert found["age_min"] == [40]


def test_feast_s_own_store_reads_what_ours_wrote(tmp_path):
    store = feast_store(tmp_path)
    reset(store, {"users": [_user(30, 0)]})
    store.materialize(moment(START), moment(START + DAY), ["user_demographics"])
    theirs = feast_store(store.config.offline_store.home, online="sqlite")
    refs = refs_of(store, "user_id")
    assert online(theirs, "user_id", ["u1"], refs) == online(store, "user_id", ["u1"], refs)


def _user(age: int, since: int) -> dict:
    at = START + since
    return {"user_id": "u1", "age_min": age, "event_timestamp": at, "created_timestamp": at}
