"""With Feast's contract, our offline store returns the same as Feast's DuckDB store.

The cases are those of Feast's own tests of offline stores, on a repository of taxis, and random
ones. Feast's contract is ``strict: false`` and ``respect_created: false``.
"""

import math
from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import taxi
from tests.support.taxi import DAY, HOUR, MICRO, T0, entity_frame

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

CONTRACT = {"type": taxi.OURS, "strict": False, "respect_created": False}
ROWS = {
    "driver_stats": [
        (1, 5, 4.5, "Ann", True, [1.0, 2.0], T0, T0),
        (1, 6, 4.6, "Ann", False, None, T0 + HOUR, T0 + 3 * HOUR),
        (1, 7, 4.7, "Ann", None, [3.0], T0 + HOUR, T0 + 4 * HOUR),  # backfilled: learned later
        (2, None, None, None, None, [], T0, T0),
        (3, 9, 1.0, "Cy", True, [0.0], T0 + 9 * DAY, T0 + 9 * DAY),  # has only a future
    ],
    "rider_stats": [("r1", 3, 1.5, T0, T0), ("r1", 4, 2.5, T0 + DAY, T0 + DAY)],
    "pairing": [(1, "r1", 2, T0, T0), (1, "r2", 8, T0, T0), (2, "r1", 6, T0 + HOUR, T0 + HOUR)],
    "weather": [(7, 20.5, T0, T0), (8, 10.5, T0, T0), (8, 11.5, T0 + 2 * HOUR, T0 + 2 * HOUR)],
}
DRIVER = [f"driver_stats:{name}" for name in ("trips", "rating", "name", "active", "profile")]
ALL = [*DRIVER, "rider_stats:spent", "pairing:rides"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Feast's store and ours over the same files."""
    return pair_of_stores(tmp_path_factory.mktemp("taxi"))


def pair_of_stores(root):
    found = []
    for name, offline in (("feast", {"type": "duckdb"}), ("ours", CONTRACT)):
        folder = taxi.write(root / name, offline, ROWS, data=root / "feast" / "data")
        found.append(taxi.store(folder))
    return found


def both(stores, entities: pd.DataFrame, features, **options) -> list[dict]:
    """The results of both stores by column, in the order of the entity rows."""
    numbered = entities.assign(n=range(len(entities)))
    results = []
    for store in stores:
        job = store.get_historical_features(numbered.copy(), features, **options)
        results.append({k: list(map(plain, v)) for k, v in in_order(job.to_df()).items()})
    return results


def in_order(frame: pd.DataFrame) -> dict[str, list]:
    """Columns by name, rows by number: Feast does not define the order of rows."""
    return {name: list(frame.sort_values("n")[name]) for name in sorted(frame.columns)}


def plain(value):
    if isinstance(value, np.ndarray | list):
        return [plain(one) for one in value]
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def rides(*rows) -> pd.DataFrame:
    return entity_frame(list(rows), "driver_id rider_id")


def test_several_views_with_different_join_keys(stores):
    theirs, ours = both(
        stores,
        rides((1, "r1", T0 + 2 * HOUR), (2, "r1", T0 + DAY), (1, "r2", T0), (3, "r9", T0 + DAY)),
        ALL,
    )
    assert ours == theirs
    assert ours["trips"] == [7, None, 5, None] and ours["rides"] == [2, 6, 8, None]


def test_features_of_one_name_in_two_views_have_their_view_s_name(stores):
    refs = ["driver_stats:trips", "rider_stats:trips"]
    entities = rides((1, "r1", T0 + DAY), (1, "r1", T0))
    theirs, ours = both(stores, entities, refs, full_feature_names=True)
    assert ours == theirs and ours["rider_stats__trips"] == [4, 3]


def test_view_used_twice_under_aliases_joins_by_two_keys(stores):
    entities = entity_frame(
        [(1, 7, 8, T0 + 2 * HOUR), (2, 8, 8, T0), (1, 9, 7, T0)],
        "driver_id origin_id destination_id",
    )
    results = [
        both([store], entities, store.get_feature_service("ride"), full_feature_names=True)[0]
        for store in stores
    ]
    assert results[1] == results[0]
    assert results[1]["origin__degrees"] == [20.5, 10.5, None]
    assert results[1]["destination__degrees"] == [11.5, 10.5, 20.5]


def test_no_ttl_and_a_ttl_of_zero_have_no_limit(stores):
    entities = entity_frame([("r1", 7, T0 + 9_000 * DAY)], "rider_id place_id")
    theirs, ours = both(stores, entities, ["rider_stats:spent", "weather:degrees"])
    assert ours == theirs and ours["spent"] == [2.5] and ours["degrees"] == [20.5]


def test_a_row_exactly_as_old_as_the_ttl_is_read_and_a_microsecond_older_is_not(stores):
    ends = [T0 + HOUR + 2 * DAY, T0 + HOUR + 2 * DAY + MICRO]
    theirs, ours = both(stores, entity_frame([(1, end) for end in ends], "driver_id"), DRIVER)
    assert ours == theirs and ours["trips"] == [7, None]


def test_of_backfilled_rows_the_last_created_is_read(stores):
    theirs, ours = both(stores, entity_frame([(1, T0 + HOUR)], "driver_id"), DRIVER)
    assert ours == theirs and ours["trips"] == [7]


def test_query_can_filter_by_created_timestamp(stores):
    instants = [T0 + HOUR, T0 + 3 * HOUR, T0 + 4 * HOUR - MICRO, T0 + 4 * HOUR]
    entities = entity_frame([(1, at) for at in instants], "driver_id")
    theirs, ours = both(stores, entities, DRIVER, filter_by_created_timestamp=True)
    assert ours == theirs and ours["trips"] == [5, 6, 6, 7]


def test_on_demand_features_are_computed_from_request_data(stores):
    entities = entity_frame([(1, 250, T0), (9, 100, T0)], "driver_id meters")
    theirs, ours = both(stores, entities, ["fare:fare", "driver_stats:trips"])
    assert ours == theirs and ours["fare"] == [7.5, 1.0]


def test_duplicates_extra_columns_and_any_order_come_back(stores):
    entities = entity_frame(
        [(1, "x", T0 + DAY), (2, None, T0), (1, "x", T0 + DAY)], "driver_id label"
    )
    theirs, ours = both(stores, entities, DRIVER)
    assert ours == theirs and ours["label"] == ["x", None, "x"]


NEW_YORK = timezone(timedelta(hours=-5))
INSTANTS = {
    "another zone": [datetime(2024, 3, 1, 7, tzinfo=NEW_YORK), T0.astimezone(NEW_YORK) + 2 * HOUR],
    "without a zone": [datetime(2024, 3, 1, 12), datetime(2024, 3, 1, 14)],
    "as text": ["2024-03-01T12:00:00Z", "2024-03-01T09:00:00-05:00"],
}


@pytest.mark.parametrize("kind", INSTANTS)
def test_instants_may_be_written_in_any_way(stores, kind):
    entities = entity_frame([(1, INSTANTS[kind][0]), (1, INSTANTS[kind][1])], "driver_id")
    theirs, ours = both(stores, entities, DRIVER)
    assert ours["trips"] == theirs["trips"] == [5, 7]


def test_a_time_column_of_another_name_is_found(stores):
    entities = pd.DataFrame({"driver_id": [1], "asked_at": [T0 + HOUR]})
    theirs, ours = both(stores, entities, ["driver_stats:trips"])
    assert ours == theirs and ours["trips"] == [7]


def test_types_of_nulls_are_the_types_of_the_source(stores):
    unknown = entity_frame([(99, "zz", T0)], "driver_id rider_id")
    feast, ours = (s.get_historical_features(unknown, ALL).to_arrow() for s in stores)
    names = [ref.split(":")[1] for ref in ALL]
    assert [ours[n].type for n in names] == [feast[n].type for n in names]
    assert all(ours[n].null_count == 1 for n in names)


def test_without_entity_rows_the_result_has_all_columns_and_no_rows(stores):
    no_rows = rides((1, "r1", T0)).iloc[:0]
    theirs, ours = both(stores, no_rows, ALL)
    assert list(ours) == list(theirs) and not any(ours.values())


def test_a_saved_dataset_is_written_and_read_again(stores, tmp_path):
    from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

    frames = []
    for number, store in enumerate(stores):
        job = store.get_historical_features(rides((1, "r1", T0), (2, "r1", T0)), ALL)
        storage = SavedDatasetFileStorage(path=str(tmp_path / f"saved-{number}.parquet"))
        saved = store.create_saved_dataset(job, f"saved_{number}", storage)
        frames.append(saved.to_df().sort_values("driver_id")[["driver_id", "trips", "spent"]])
    pd.testing.assert_frame_equal(frames[1], frames[0])


instants = st.sampled_from([T0 + k * HOUR + d * MICRO for k in range(60) for d in (-1, 0, 1)])
facts = st.tuples(st.integers(1, 3), st.sampled_from(("r1", "r2")), instants, instants)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(facts, max_size=30),
    entity_rows=st.lists(st.tuples(facts), min_size=1, max_size=20),
    by_created=st.booleans(),
)
def test_random_logs_have_the_same_results(stores, rows, entity_rows, by_created):
    # Feast picks any of the rows that have both instants in common, so each pair is unique.
    one_each = {(d, r, at, max(at, born)): n for n, (d, r, at, born) in enumerate(rows)}
    pairing = [(d, r, n, at, born) for (d, r, at, born), n in one_each.items()]
    taxi.save(stores[0].repo_path, "pairing", pairing, taxi.NAMES["pairing"])
    entities = entity_frame(
        [(d, r, at) for ((d, r, at, _born),) in entity_rows], "driver_id rider_id"
    )
    options = {"filter_by_created_timestamp": True} if by_created else {}
    theirs, ours = both(stores, entities, ["pairing:rides"], **options)
    assert ours == theirs
