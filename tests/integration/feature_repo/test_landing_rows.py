"""Rows that land once, twice, as a correction or as a conflict."""

from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.lake import landing
from feature_repo.lake.delta_tables import describe, write
from feature_repo.lake.duckdb_files import query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from tests.support.landing_batches import (
    FINISH,
    content,
    coupon,
    day,
    hashes,
    land,
    quarantined,
    rows,
    user,
    whole_batch,
)


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


def ages(lake, state, known=True):
    table = lake.known("users", state) if known else lake.read("users", state)
    return sorted(zip(table["user_id"].to_pylist(), table["age_min"].to_pylist(), strict=True))


def test_same_batch_twice_changes_nothing(lake):
    first, _ = land(lake, whole_batch(), quarantined("q1"))
    files = sorted(lake.root.rglob("*"))
    second, classified = land(lake, whole_batch(), quarantined("q1"))
    assert second == first
    assert lake.numbers() == [1]
    assert sorted(lake.root.rglob("*")) == files
    assert {name: one.present for name, one in classified.items()} == {
        name: table.num_rows for name, table in whole_batch().items()
    }


def test_overlapping_batch_lands_only_its_new_rows(lake):
    land(lake, {"users": rows("users", user("u1"), user("u2"))})
    state, classified = land(lake, {"users": rows("users", user("u2"), user("u3"))})
    assert (classified["users"].present, classified["users"].new.num_rows) == (1, 1)
    assert state.tables["users"].rows == 3


def test_correction_learned_later_is_kept_beside_the_first_version_and_counts(lake):
    land(lake, {"users": rows("users", user(age=30))})
    state, classified = land(lake, {"users": rows("users", user(age=31, created=5))})
    assert classified["users"].new.num_rows == 1
    assert ages(lake, state, known=False) == [("u1", 30), ("u1", 31)]
    assert ages(lake, state) == [("u1", 31)]


def test_correction_does_not_count_before_it_was_learned(lake):
    batch = {"users": rows("users", user(age=30), user(age=31, created=5))}
    state, _ = land(lake, batch, watermark=day(5))
    assert ages(lake, state) == [("u1", 30)]
    state, _ = land(lake, batch, watermark=day(5) + timedelta(microseconds=1))
    assert ages(lake, state) == [("u1", 31)]


def test_correction_in_the_same_batch_is_present_the_second_time(lake):
    batch = {"users": rows("users", user(age=30), user(age=31, created=5))}
    land(lake, batch)
    _, classified = land(lake, batch)
    assert classified["users"].present == 2


def test_other_content_learned_at_the_same_instant_conflicts_and_does_not_land(lake):
    before, _ = land(lake, {"users": rows("users", user(age=30))})
    after, classified = land(lake, {"users": rows("users", user(age=99))})
    assert classified["users"].conflicting.to_pylist() == rows("users", user(age=99)).to_pylist()
    assert after == before
    assert ages(lake, after) == [("u1", 30)]


def test_null_in_place_of_a_value_is_a_conflict(lake):
    land(lake, {"users": rows("users", user(age=30))})
    _, classified = land(lake, {"users": rows("users", user(age=None))})
    assert classified["users"].conflicting.num_rows == 1


def test_older_version_in_a_later_batch_lands_but_does_not_count(lake):
    land(lake, {"users": rows("users", user(age=31, created=5))})
    state, classified = land(lake, {"users": rows("users", user(age=30, created=0))})
    assert classified["users"].new.num_rows == 1
    assert ages(lake, state) == [("u1", 31)]
    assert ages(lake, state, known=False) == [("u1", 30), ("u1", 31)]


def test_version_that_repeats_the_one_before_it_is_kept(lake):
    land(lake, {"users": rows("users", user(age=30))})
    state, classified = land(lake, {"users": rows("users", user(age=30, created=9))})
    assert classified["users"].new.num_rows == 1
    state, _ = land(lake, {"users": rows("users", user(age=31, created=5))})
    assert ages(lake, state) == [("u1", 30)]


def test_correction_back_to_the_first_content_is_a_correction(lake):
    land(lake, {"users": rows("users", user(age=30), user(age=31, created=5))})
    state, classified = land(lake, {"users": rows("users", user(age=30, created=9))})
    assert classified["users"].new.num_rows == 1
    assert ages(lake, state) == [("u1", 30)]


def test_correction_and_its_reversal_in_one_batch_both_land(lake):
    land(lake, {"users": rows("users", user(age=30))})
    corrections = {"users": rows("users", user(age=31, created=5), user(age=30, created=9))}
    state, classified = land(lake, corrections)
    assert classified["users"].new.num_rows == 2
    assert ages(lake, state) == [("u1", 30)]
    _, classified = land(lake, corrections)
    assert classified["users"].present == 2


def test_repeated_content_in_one_batch_is_kept(lake):
    land(lake, {"users": rows("users", user("u0"))})
    _, classified = land(lake, {"users": rows("users", user(), user(created=5))})
    assert (classified["users"].new.num_rows, classified["users"].present) == (2, 0)


CORRECTIONS = st.lists(st.tuples(st.sampled_from(["u1", "u2"]), st.integers(0, 5)), max_size=8)


@settings(max_examples=12, deadline=None)
@given(versions=st.lists(st.tuples(CORRECTIONS, st.integers(30, 31)), max_size=5), data=st.data())
def test_lake_does_not_depend_on_the_order_of_arrival(tmp_path_factory, versions, data):
    """Each version of a user lands in some batch, in any order, some of them more than once."""
    ages = {which: age for group, age in versions for which in group}
    people = [user(name, age, created) for (name, created), age in ages.items()]
    whole = Lake(tmp_path_factory.mktemp("whole"))
    expected, _ = land(whole, {"users": rows("users", *people)})
    split = Lake(tmp_path_factory.mktemp("split"))
    for one in data.draw(st.permutations(people)) + people[:2]:
        state, _ = land(split, {"users": rows("users", one)})
        assert state.tables["users"].rows <= len(people)
    if people:
        assert hashes(state) == hashes(expected)
        assert content(split, state) == content(whole, expected)


def test_rows_that_differ_in_one_of_two_key_columns_are_different(lake):
    pairs = [{"coupon_id": "c1", "product_id": p} for p in ("p1", "p2")]
    land(lake, {"coupon_products": rows("coupon_products", pairs[0])})
    _, classified = land(lake, {"coupon_products": rows("coupon_products", *pairs)})
    assert (classified["coupon_products"].present, classified["coupon_products"].new.num_rows) == (
        1,
        1,
    )


def test_content_hash_does_not_depend_on_the_order_of_rows(tmp_path):
    people = [user(f"u{i}", age=i) for i in range(50)]
    one, _ = land(Lake(tmp_path / "one"), {"users": rows("users", *people)})
    other = Lake(tmp_path / "other")
    land(other, {"users": rows("users", *people[:20:-1])})
    two, _ = land(other, {"users": rows("users", *people[20::-1])})
    assert hashes(one) == hashes(two)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"name": "a, b", "department": "c"}, {"name": "a", "department": "b, c"}),
        ({"name": None}, {"name": "NULL"}),
        ({"name": ""}, {"name": None}),
        ({"name": "a'"}, {"name": "a\\'"}),
    ],
)
def test_content_hash_differs_for_rows_that_look_alike(tmp_path, left, right):
    found = [
        land(Lake(tmp_path / side), {"products": rows("products", {"product_id": "p1"} | content)})
        for side, content in (("left", left), ("right", right))
    ]
    assert hashes(found[0][0]) != hashes(found[1][0])


def test_table_stays_assumed_after_one_assumed_batch(lake):
    state, _ = land(lake, {"users": rows("users", user("u1"))}, learned={"users": "stated"})
    assert state.tables["users"].learned == "stated"
    state, _ = land(lake, {"users": rows("users", user("u2"))}, learned={"users": "assumed"})
    assert state.tables["users"].learned == "assumed"
    state, _ = land(lake, {"users": rows("users", user("u3"))}, learned={"users": "stated"})
    assert state.tables["users"].learned == "assumed"


def test_present_rows_do_not_change_the_state_of_the_table(lake):
    first, _ = land(lake, {"users": rows("users", user())}, learned={"users": "stated"})
    again, _ = land(lake, {"users": rows("users", user())}, learned={"users": "assumed"})
    assert again == first


def test_watermark_advances_without_rows_and_never_goes_back(lake):
    land(lake, whole_batch(), watermark=day(50))
    later, _ = land(lake, whole_batch(), watermark=day(60))
    assert (later.number, later.watermark) == (2, day(60))
    earlier, _ = land(lake, whole_batch(2), watermark=day(10))
    assert (earlier.number, earlier.watermark) == (3, day(60))


def held_ids(lake, state):
    held = lake.quarantine(state)
    return [] if held is None else sorted(held["quarantine_id"].to_pylist())


def test_rows_enter_the_quarantine_once_and_leave_it_when_released(lake):
    state, _ = land(lake, {}, quarantined("q1", "q2"))
    assert held_ids(lake, state) == ["q1", "q2"]
    state, _ = land(lake, {}, quarantined("q2", "q3"))
    assert held_ids(lake, state) == ["q1", "q2", "q3"]
    state, _ = land(lake, {}, quarantined("q4"), released={"q1", "q3", "unknown"})
    assert held_ids(lake, state) == ["q2", "q4"]
    assert state.tables["quarantine"].rows == 2
    assert held_ids(lake, lake.state(1)) == ["q1", "q2"]


def test_quarantine_can_be_emptied_and_filled_again(lake):
    land(lake, {}, quarantined("q1"))
    state, _ = land(lake, {}, released={"q1"})
    assert held_ids(lake, state) == []
    assert state.tables["quarantine"].rows == 0
    state, _ = land(lake, {}, quarantined("q1"))
    assert held_ids(lake, state) == ["q1"]


def test_released_row_that_the_batch_contains_again_stays_in_quarantine(lake):
    first, _ = land(lake, {}, quarantined("q1"))
    again, _ = land(lake, {}, quarantined("q1"), released={"q1"})
    assert again == first


def test_release_of_an_unknown_row_changes_nothing(lake):
    first, _ = land(lake, whole_batch())
    again, _ = land(lake, {}, released={"q1"})
    assert again == first


def test_empty_batch_still_makes_a_first_state(lake):
    state, _ = land(lake, {"users": rows("users")})
    assert (state.number, dict(state.tables)) == (1, {})
    assert lake.read("users", state).num_rows == 0
    assert isinstance(lake.known("events", state), pa.Table)
    assert content(lake, state)["users"] == []


def _nothing(watermark):
    return landing.Landing("test", watermark, {}, quarantined())


@pytest.mark.parametrize("column", ["covers_whole_cart", "has_terms"])
def test_lake_from_before_a_column_of_the_contract_reads_it_as_null(lake, column):
    older = rows("coupons", coupon("c1")).drop_columns([column])
    with landing.write_lock(lake):
        write(lake, "coupons", older)
        table = describe(lake, "coupons", tuple(older.column_names))
        first = landing.commit(
            lake, State(1, FINISH, 1, "test", {"coupons": table}), _nothing(day(101))
        )
    assert lake.read("coupons", first)[column].to_pylist() == [None]
    again, classified = land(lake, {"coupons": rows("coupons", coupon("c1"))})
    assert again == first and classified["coupons"].present == 1
    state, _ = land(lake, {"coupons": rows("coupons", coupon("c2") | {column: True})})
    found = lake.read("coupons", state, ["coupon_id", column]).to_pylist()
    assert {one["coupon_id"]: one[column] for one in found} == {"c1": None, "c2": True}
    assert lake.read("coupons", first)[column].to_pylist() == [None]


def test_redemption_is_known_until_it_was_taken_back(lake):
    used = {"redemption_id": "r1", "user_id": "u1", "coupon_id": "c1", "event_timestamp": day(1)}
    state, _ = land(
        lake, {"redemptions": rows("redemptions", used | {"canceled_timestamp": day(3)})}
    )
    counts = [query(lake.known_sql("redemptions", state, day(n))).num_rows for n in (1, 2, 3, 4)]
    assert counts == [0, 1, 1, 0] and lake.known("redemptions", state).num_rows == 0
