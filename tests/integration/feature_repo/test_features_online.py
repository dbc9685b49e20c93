"""Online equals offline: features materialized up to t equal the history at t."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.feature_logs import (
    COUPONS,
    DAY,
    PRODUCTS,
    START,
    USERS,
    feast_store,
    land,
    logs,
    moment,
)
from tests.support.online_stores import (
    empty,
    offline,
    online,
    opened,
    place_of,
    read_alone,
    refs_of,
    written,
)

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

KEYS = {"user_id": (*USERS, "unknown"), "product_id": PRODUCTS, "coupon_id": COUPONS}
DEMOGRAPHICS = ["user_demographics"]
AGE = ["user_demographics:age_min"]

ends = st.lists(
    st.builds(
        lambda day, part: START + day * DAY + part,
        st.integers(1, 150),
        st.sampled_from((0, DAY // 4, DAY // 2)),
    ),
    min_size=1,
    max_size=3,
).map(sorted)


@st.composite
def landings(draw):
    """A log that lands in parts, and the instant up to which each part is materialized.

    A row can be in any part. So a later part can bring rows learned before the last end: late
    rows, and versions older than those already landed.
    """
    log, upto = draw(logs()), draw(ends)
    parts = [{name: [] for name in log} for _ in upto]
    for name, rows in log.items():
        for row in rows:
            parts[draw(st.integers(0, len(parts) - 1))][name].append(row)
    return list(zip(parts, upto, strict=True))


@pytest.fixture(scope="module")
def store(request, kind, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return opened(kind, home, place_of(kind, home, request))


@pytest.fixture
def empty_store(store):
    """The store with no lake and nothing online."""
    without_lake(store)
    empty(store)
    return store


def without_lake(store) -> Path:
    """Removes the lake and keeps the online rows; returns the lake's home."""
    home = Path(store.config.offline_store.home)
    for folder in ("lake", "features"):
        shutil.rmtree(home / folder, ignore_errors=True)
    return home


def assert_same(store, t: int) -> None:
    for key, ids in KEYS.items():
        refs = refs_of(store, key)
        found = online(store, key, ids, refs)
        assert found == offline(store, key, ids, refs, t), key
        assert read_alone(store, key, ids, refs) == found, key


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(steps=landings())
def test_online_equals_offline_after_every_landing_and_materialization(store, steps):
    # The rows that an earlier lake left online test the store further.
    home = without_lake(store)
    for part, end in steps:
        land(home, part)
        store.materialize(moment(START), moment(end))
        assert_same(store, end)


def test_row_learned_late_reaches_the_online_store(empty_store):
    store, home = empty_store, Path(empty_store.config.offline_store.home)
    early, late = _user(30, 0), {**_user(50, 2 * DAY), "user_id": "u2"}
    end = START + 20 * DAY
    land(home, {"users": [early]})
    store.materialize(moment(START), moment(end), DEMOGRAPHICS)
    land(home, {"users": [late]})
    store.materialize(moment(end), moment(end), DEMOGRAPHICS)
    found = online(store, "user_id", ["u1", "u2"], AGE)
    assert found == offline(store, "user_id", ["u1", "u2"], AGE, end)
    assert written(store, "user_demographics") == 1


def test_online_row_from_a_corrected_event_is_removed_though_it_is_newer(empty_store):
    store, home = empty_store, Path(empty_store.config.offline_store.home)
    end = START + 20 * DAY
    # A purchase of day 10 expires on day 17; then a correction moves it to day 3.
    bought = _event("e1", 10 * DAY)
    land(home, {"users": [_user(30, 0)], "events": [bought]})
    store.materialize(moment(START), moment(end))
    moved = bought | {"event_timestamp": START + 3 * DAY, "created_timestamp": START + 11 * DAY}
    land(home, {"events": [moved]})
    store.materialize(moment(end), moment(end))
    assert_same(store, end)


def test_an_entity_that_lost_its_last_window_event_reads_zero(empty_store):
    store, home = empty_store, Path(empty_store.config.offline_store.home)
    land(home, {"users": [_user(30, 0)], "events": [_event("e1", DAY)]})
    refs = ["user_purchase_stats:purchase_count_7d", "user_purchase_stats:purchase_count_all"]
    seen = []
    for day in (2, 8, 9):
        store.materialize(moment(START), moment(START + day * DAY + 1), ["user_purchase_stats"])
        seen.append(online(store, "user_id", ["u1"], refs))
    assert [one["purchase_count_7d"] for one in seen] == [[1], [0], [0]]
    assert seen[-1]["purchase_count_all"] == [1]


def test_an_older_materialization_does_not_replace_a_newer_value(empty_store):
    store, home = empty_store, Path(empty_store.config.offline_store.home)
    land(home, {"users": [_user(30, 0), _user(40, 10 * DAY)]})
    store.materialize(moment(START), moment(START + 20 * DAY), DEMOGRAPHICS)
    store.materialize(moment(START), moment(START + 5 * DAY), DEMOGRAPHICS)
    assert online(store, "user_id", ["u1"], AGE)["age_min"] == [40]
    assert written(store, "user_demographics") == 0


def test_feast_s_own_store_reads_the_rows_of_ours(request, kind, empty_store):
    store, home = empty_store, Path(empty_store.config.offline_store.home)
    log = {"users": [_user(30, 0)], "events": [_event("e1", DAY), _event("e2", 2 * DAY)]}
    land(home, log)
    store.materialize(moment(START), moment(START + 3 * DAY))
    plain = opened(kind, home, place_of(kind, home, request), ours=False)
    refs = refs_of(store, "user_id")
    found = online(plain, "user_id", ["u1"], refs)
    assert found == online(store, "user_id", ["u1"], refs)
    assert found["purchase_count_7d"] == [2]


def test_feast_s_own_engine_writes_the_same_rows_online(tmp_path):
    store = feast_store(tmp_path)
    land(tmp_path, {"users": [_user(30, 0)], "events": [_event("e1", DAY)]})
    store.materialize(moment(START), moment(START + 3 * DAY))
    for key, ids in KEYS.items():
        refs = refs_of(store, key)
        assert online(store, key, ids, refs) == offline(store, key, ids, refs, START + 3 * DAY)


def _user(age: int, since: int) -> dict:
    at = START + since
    return {"user_id": "u1", "age_min": age, "event_timestamp": at, "created_timestamp": at}


def _event(name: str, since: int) -> dict:
    at = START + since
    return {
        "event_id": name,
        "user_id": "u1",
        "event_type": "purchase",
        "product_id": "p1",
        "quantity": 1,
        "amount": 250,
        "event_timestamp": at,
        "created_timestamp": at,
    }


@settings(deadline=None, max_examples=200)
@given(entity_id=st.text(max_size=300))
def test_key_of_an_id_equals_feast_s(entity_id):
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    from feature_repo.online.format.entity_keys import EntityKeys

    store = SimpleNamespace(config=SimpleNamespace(entity_key_serialization_version=3))
    key = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=entity_id)])
    keys = EntityKeys(store, "user_id")
    assert keys.is_plain and keys(entity_id) == serialize_entity_key(key, 3)


def test_service_reads_the_registry_again_only_once_it_changed(tmp_path, monkeypatch):
    from serving.online.feast_reader import FeastOnline

    store = feast_store(tmp_path)
    service = FeastOnline(store)
    service.refresh()
    assert service.watermark() is None
    land(tmp_path, {})
    store.materialize(moment(START), moment(START + DAY))
    service.refresh()
    assert service.watermark() == moment(START + DAY)

    def read() -> None:
        raise AssertionError("nothing changed")

    monkeypatch.setattr(store, "refresh_registry", read)
    service.refresh()
    monkeypatch.undo()
    feast_store(tmp_path).materialize(moment(START), moment(START + 2 * DAY))
    service.refresh()
    assert service.watermark() == moment(START + 2 * DAY)
