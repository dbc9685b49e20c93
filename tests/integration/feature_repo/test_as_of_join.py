"""The as-of join in another Feast repository: plain Parquet files, our offline store."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support import taxi
from tests.support.feature_logs import DAY, START, WATERMARK, feast_store, land, moment

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

T0 = datetime(2024, 3, 1, 12, tzinfo=UTC)
MICRO = timedelta(microseconds=1)
ROWS = [
    # driver, trips, happened, learned
    ("a", 1, T0, T0),
    ("a", 2, T0 + timedelta(hours=2), T0 + timedelta(hours=2)),
    ("a", 3, T0 + timedelta(hours=4), T0 + timedelta(hours=9)),  # learned late
    ("a", 4, T0 + timedelta(hours=5), T0 + timedelta(hours=5)),
    ("b", 5, T0, T0),
    ("b", 6, T0, T0 + MICRO),  # the same instant, learned later
    ("c", 7, T0 + timedelta(days=9), T0 + timedelta(days=9)),  # only a future
]
TTL = timedelta(days=1)


def driver_store(home, **offline):
    """Opens another repository: its own entity and Parquet file, our offline store."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Int64, String

    columns = ["driver", "trips", "event_timestamp", "created"]
    pd.DataFrame(ROWS, columns=columns).to_parquet(home / "trips.parquet")
    config = RepoConfig(
        project="taxi",
        provider="local",
        registry=str(home / "registry.db"),
        offline_store={"type": "feature_repo.point_in_time.PointInTimeOfflineStore"} | offline,
        online_store={"type": "sqlite", "path": str(home / "online.db")},
        entity_key_serialization_version=3,
        repo_path=str(home),
    )
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.STRING)
    source = FileSource(
        name="trips_source",
        path=str(home / "trips.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    view = FeatureView(
        name="trips_view",
        entities=[driver],
        ttl=TTL,
        schema=[Field(name="trips", dtype=Int64), Field(name="driver", dtype=String)],
        source=source,
    )
    store = FeatureStore(config=config)
    store.apply([driver, view])
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return driver_store(tmp_path_factory.mktemp("taxi"))


def trips(store, pairs, **kwargs) -> list:
    entities = pd.DataFrame(pairs, columns=["driver", "event_timestamp"])
    found = store.get_historical_features(entities, ["trips_view:trips"], **kwargs).to_arrow()
    assert found["driver"].to_pylist() == [driver for driver, _at in pairs]
    name = "trips_view__trips" if kwargs.get("full_feature_names") else "trips"
    return found[name].to_pylist()


def test_every_entity_row_comes_back_once_and_in_order_duplicates_included(store):
    late, early = T0 + timedelta(hours=3), T0 + timedelta(hours=1)
    pairs = [("a", late), ("zz", late), ("a", early), ("a", late), ("c", early), ("a", late)]
    assert trips(store, pairs) == [2, None, 1, 2, None, 2]


def test_row_is_visible_a_microsecond_after_its_own_instant(store):
    assert trips(store, [("a", T0), ("a", T0 + MICRO)]) == [None, 1]


def test_with_feast_s_contract_a_row_is_visible_at_its_instant(tmp_path):
    store = driver_store(tmp_path, strict=False)
    assert trips(store, [("a", T0), ("a", T0 - MICRO)]) == [1, None]


def test_before_a_late_row_is_learned_the_newest_visible_older_one_is_read(store):
    hours = [timedelta(hours=h) for h in (4, 5)]
    at = [T0 + hours[0] + MICRO, T0 + hours[1] + MICRO, T0 + timedelta(hours=9) + MICRO]
    # Row 3 was learned after row 4 had happened: it is never the newest.
    assert trips(store, [("a", t) for t in at]) == [2, 4, 4]


def test_without_respect_created_a_late_row_is_visible_from_its_event_on(tmp_path):
    store = driver_store(tmp_path, respect_created=False)
    assert trips(store, [("a", T0 + timedelta(hours=4) + MICRO)]) == [3]


def test_of_rows_at_one_instant_the_last_learned_is_read_once_it_is_learned(store):
    assert trips(store, [("b", T0 + MICRO), ("b", T0 + 2 * MICRO)]) == [5, 6]


def test_a_row_is_read_up_to_its_ttl_and_not_a_microsecond_longer(store):
    end = T0 + TTL
    assert trips(store, [("b", end), ("b", end + MICRO)]) == [6, None]


def test_full_feature_names_have_the_view_s_name(store):
    pairs = [("a", T0 + MICRO)]
    assert trips(store, pairs, full_feature_names=True) == [1]


def test_join_key_can_have_an_alias(store):
    view = store.get_feature_view("trips_view").with_name("relief")
    view = view.with_join_key_map({"driver": "relief_driver"})
    service = _service(store, "relief_service", view)
    entities = pd.DataFrame({"relief_driver": ["a", "b"], "event_timestamp": [T0 + MICRO] * 2})
    found = store.get_historical_features(entities, service, full_feature_names=True).to_arrow()
    assert found["relief__trips"].to_pylist() == [1, 5]


def _service(store, name, view):
    from feast import FeatureService

    service = FeatureService(name=name, features=[view])
    store.apply([service])
    return service


def test_error_names_a_missing_join_key(store):
    from feature_repo.offline.errors import PointInTimeError

    entities = pd.DataFrame({"chauffeur": ["a"], "event_timestamp": [T0]})
    with pytest.raises(PointInTimeError, match="Add driver"):
        store.get_historical_features(entities, ["trips_view:trips"])


def pulled(store, start, end) -> list:
    """Pulls the trips that a materialization of ``[start, end)`` reads."""
    view = store.get_feature_view("trips_view")
    job = store.provider.offline_store.pull_all_from_table_or_query(
        store.config,
        view.batch_source,
        ["driver"],
        ["trips"],
        "event_timestamp",
        "created",
        start,
        end,
    )
    return job.to_arrow()["trips"].to_pylist()


def test_materializations_of_adjoining_spans_tile_without_overlap_or_gap(store):
    borders = [T0 - MICRO, T0, T0 + MICRO, T0 + timedelta(hours=5), T0 + timedelta(days=10)]
    spans = list(zip(borders, borders[1:], strict=False))
    parts = [pulled(store, start, end) for start, end in spans]
    assert parts[0] == [] and sorted(parts[1]) == [1, 5] and 6 in parts[2]
    assert sorted(row for part in parts for row in part) == [row[1] for row in ROWS]


def test_the_store_materializes_and_serves_another_repository(tmp_path):
    store = driver_store(tmp_path)
    store.materialize(T0 - TTL, T0 + timedelta(days=2))
    found = store.get_online_features(["trips_view:trips"], [{"driver": "a"}, {"driver": "b"}])
    assert found.to_dict()["trips"] == [4, 6]


def test_row_learned_after_the_end_is_not_materialized(tmp_path):
    store = driver_store(tmp_path)
    store.materialize(T0 - TTL, T0 + timedelta(hours=4, minutes=30))
    found = store.get_online_features(["trips_view:trips"], [{"driver": "a"}])
    assert found.to_dict()["trips"] == [2]


def test_view_without_entities_is_joined_by_time_alone(tmp_path):
    from feast import FeatureView, Field
    from feast.types import Int64

    store = driver_store(tmp_path)
    source = store.get_data_source("trips_source")
    totals = FeatureView(
        name="totals",
        entities=[],
        ttl=TTL,
        schema=[Field(name="trips", dtype=Int64)],
        source=source,
    )
    store.apply([totals])
    entities = pd.DataFrame({"n": [1, 2], "event_timestamp": [T0, T0 + timedelta(hours=3)]})
    found = store.get_historical_features(entities, ["totals:trips"]).to_arrow()
    assert found["trips"].to_pylist() == [None, 2]
    latest = store.provider.offline_store.pull_latest_from_table_or_query(
        store.config, source, [], ["trips"], "event_timestamp", "created", T0, T0 + TTL
    )
    assert latest.to_arrow().select(["trips", "__dummy_id"]).to_pylist() == [
        {"trips": 4, "__dummy_id": ""}
    ]


def test_materialization_beyond_the_watermark_is_refused_with_a_remedy(tmp_path):
    from feature_repo.lake.state import LakeError

    store = feast_store(tmp_path)
    land(tmp_path, {"users": [_user("u1")]})
    with pytest.raises(LakeError, match="complete up to .* use an end no later"):
        store.materialize(moment(START), moment(WATERMARK + 1), ["user_demographics"])
    store.materialize(moment(START), moment(WATERMARK), ["user_demographics"])


def test_pinned_lake_version_reads_that_state(tmp_path):
    land(tmp_path, {"users": [_user("u1", age_min=30)]})
    land(tmp_path, {"users": [_user("u1", age_min=40, created_timestamp=START + DAY)]})
    entities = pd.DataFrame({"user_id": ["u1"], "event_timestamp": [moment(START + 2 * DAY)]})
    ages = {}
    for version in (1, None):
        store = feast_store(tmp_path, lake_version=version)
        found = store.get_historical_features(entities, ["user_demographics:age_min"]).to_arrow()
        ages[version] = found["age_min"].to_pylist()
    assert ages == {1: [30], None: [40]}


def test_float_ids_are_refused_and_whole_numbers_are_read(tmp_path):
    from feature_repo.offline.errors import PointInTimeError

    land(tmp_path, {"users": [_user("1001", age_min=30)]})
    store = feast_store(tmp_path)
    entities = pd.DataFrame({"user_id": [1001, 7], "event_timestamp": moment(START + DAY)})
    found = store.get_historical_features(entities, ["user_demographics:age_min"]).to_arrow()
    assert found["age_min"].to_pylist() == [30, None]
    entities["user_id"] = [1001.0, None]
    with pytest.raises(PointInTimeError, match="text or whole numbers in user_id .* got double"):
        store.get_historical_features(entities, ["user_demographics:age_min"]).to_arrow()


def test_sql_names_the_lake_s_tables(tmp_path):
    land(tmp_path, {"users": [_user("u1", age_min=30)], "exposures": [_exposure("x1", 3)]})
    land(tmp_path, {"exposures": [_exposure("x1", 5, created_timestamp=START + 9 * DAY)]})
    store = feast_store(tmp_path)
    sql = "SELECT user_id, event_timestamp FROM exposures"
    found = store.get_historical_features(sql, ["user_demographics:age_min"]).to_arrow()
    assert found["age_min"].to_pylist() == [30]
    assert found["event_timestamp"].to_pylist() == [moment(START + 5 * DAY)]


def _exposure(name: str, day: int, **values) -> dict:
    at = START + day * DAY
    row = {"exposure_id": name, "user_id": "u1", "campaign_id": "A"}
    return row | {"event_timestamp": at, "created_timestamp": at} | values


def test_windows_roll_beyond_the_watermark_with_a_warning(tmp_path, caplog):
    buy = {"event_id": "e1", "user_id": "u1", "event_type": "purchase", "product_id": "p1"}
    log = {
        "users": [_user("u1")],
        "events": [buy | {"event_timestamp": START, "created_timestamp": START}],
    }
    land(tmp_path, log, watermark=START + DAY)
    store = feast_store(tmp_path)
    days = [moment(START + n * DAY) for n in (1, 7, 8, 31)]
    entities = pd.DataFrame({"user_id": ["u1"] * 4, "event_timestamp": days})
    names = ["purchase_count_7d", "purchase_count_30d", "purchase_count_all"]
    refs = [f"user_purchase_stats:{name}" for name in names]
    found = store.get_historical_features(entities, refs).to_arrow()
    assert [found[name].to_pylist() for name in names] == [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert "3 entity rows lie after" in caplog.text


def _user(name: str, **values) -> dict:
    return {"user_id": name, "event_timestamp": START, "created_timestamp": START} | values


HOURS = [T0 + timedelta(hours=hours) for hours in range(6)]
NEAR = st.sampled_from([at + shift for at in HOURS for shift in (-MICRO, timedelta(0), MICRO)])
PAIRINGS = st.tuples(
    st.integers(1, 2), st.sampled_from(("r1", "r2")), st.integers(0, 3), NEAR, st.none() | NEAR
)
PAIRING_TTL = timedelta(days=10)
ENTITIES = st.tuples(
    st.integers(1, 3),
    st.sampled_from(("r1", "r2")),
    NEAR | NEAR.map(lambda at: at + PAIRING_TTL),
)


def expected_rides(rows: list[tuple], driver: int, rider: str, at: datetime):
    """The result by definition: the newest row that happened and was learned before ``at``."""
    visible = [
        (happened, learned or happened, rides)
        for *pair, rides, happened, learned in rows
        if pair == [driver, rider] and happened < at and (learned or happened) < at
    ]
    happened, _learned, rides = max(visible, default=(None, None, None))
    return rides if happened is not None and happened >= at - PAIRING_TTL else None


@pytest.fixture(scope="module")
def strict_taxi(tmp_path_factory):
    return taxi.store(taxi.write(tmp_path_factory.mktemp("taxi"), {"type": taxi.OURS}, {}))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(PAIRINGS, max_size=25), entities=st.lists(ENTITIES, min_size=1, max_size=30))
@example(  # a row without a created timestamp was learned when it happened
    rows=[(1, "r1", 1, T0, T0 - MICRO), (1, "r1", 0, T0, None)],
    entities=[(1, "r1", T0 + MICRO)],
)
def test_every_result_is_the_newest_row_that_happened_and_was_learned(strict_taxi, rows, entities):
    taxi.save(strict_taxi.repo_path, "pairing", rows, taxi.NAMES["pairing"])
    frame = taxi.entity_frame(entities, "driver_id rider_id")
    found = strict_taxi.get_historical_features(frame, ["pairing:rides"]).to_arrow()
    assert found["rides"].to_pylist() == [expected_rides(rows, *entity) for entity in entities]


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(PAIRINGS, max_size=25), end=NEAR)
def test_rows_materialized_up_to_an_instant_equal_the_history_there(strict_taxi, rows, end):
    taxi.save(strict_taxi.repo_path, "pairing", rows, taxi.NAMES["pairing"])
    view = strict_taxi.get_feature_view("pairing")
    latest = strict_taxi.provider.offline_store.pull_latest_from_table_or_query(
        strict_taxi.config,
        view.batch_source,
        ["driver_id", "rider_id"],
        ["rides"],
        "event_timestamp",
        "created",
        T0 - timedelta(days=1),
        end,
    )
    pulled = {
        (row["driver_id"], row["rider_id"]): row["rides"] for row in latest.to_arrow().to_pylist()
    }
    pairs = [(driver, rider) for driver in (1, 2, 3) for rider in ("r1", "r2")]
    assert pulled == {
        pair: rides for pair in pairs if (rides := expected_rides(rows, *pair, end)) is not None
    }
