"""What becomes of a row that lands once, twice, corrected or contradicted."""

from datetime import timedelta

import pyarrow as pa
import pytest

from feature_repo.lake.reader import Lake
from tests.support.landing_batches import (
    content,
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


def test_the_same_batch_twice_changes_nothing(lake):
    first, _ = land(lake, whole_batch(), quarantined("q1"))
    files = sorted(lake.root.rglob("*"))
    second, verdicts = land(lake, whole_batch(), quarantined("q1"))
    assert second == first
    assert lake.numbers() == [1]
    assert sorted(lake.root.rglob("*")) == files
    assert {name: one.present for name, one in verdicts.items()} == {
        name: table.num_rows for name, table in whole_batch().items()
    }


def test_a_batch_that_overlaps_lands_only_what_is_new(lake):
    land(lake, {"users": rows("users", user("u1"), user("u2"))})
    state, verdicts = land(lake, {"users": rows("users", user("u2"), user("u3"))})
    assert (verdicts["users"].present, verdicts["users"].new.num_rows) == (1, 1)
    assert state.tables["users"].rows == 3


def test_a_correction_learned_later_is_kept_beside_the_first_and_counts(lake):
    land(lake, {"users": rows("users", user(age=30))})
    state, verdicts = land(lake, {"users": rows("users", user(age=31, created=5))})
    assert verdicts["users"].new.num_rows == 1
    assert ages(lake, state, known=False) == [("u1", 30), ("u1", 31)]
    assert ages(lake, state) == [("u1", 31)]


def test_a_correction_is_not_known_before_it_was_learned(lake):
    batch = {"users": rows("users", user(age=30), user(age=31, created=5))}
    state, _ = land(lake, batch, watermark=day(5))
    assert ages(lake, state) == [("u1", 30)]
    state, _ = land(lake, batch, watermark=day(5) + timedelta(microseconds=1))
    assert ages(lake, state) == [("u1", 31)]


def test_a_correction_in_the_same_batch_is_present_the_second_time(lake):
    batch = {"users": rows("users", user(age=30), user(age=31, created=5))}
    land(lake, batch)
    _, verdicts = land(lake, batch)
    assert verdicts["users"].present == 2


def test_other_content_learned_at_the_same_instant_conflicts_and_does_not_land(lake):
    before, _ = land(lake, {"users": rows("users", user(age=30))})
    after, verdicts = land(lake, {"users": rows("users", user(age=99))})
    assert verdicts["users"].conflicting.to_pylist() == rows("users", user(age=99)).to_pylist()
    assert after == before
    assert ages(lake, after) == [("u1", 30)]


def test_a_null_that_was_a_value_is_other_content(lake):
    land(lake, {"users": rows("users", user(age=30))})
    _, verdicts = land(lake, {"users": rows("users", user(age=None))})
    assert verdicts["users"].conflicting.num_rows == 1


def test_an_older_version_that_comes_late_lands_but_does_not_count(lake):
    land(lake, {"users": rows("users", user(age=31, created=5))})
    state, verdicts = land(lake, {"users": rows("users", user(age=30, created=0))})
    assert verdicts["users"].new.num_rows == 1
    assert ages(lake, state) == [("u1", 31)]
    assert ages(lake, state, known=False) == [("u1", 30), ("u1", 31)]


def test_news_that_repeat_what_is_known_are_present(lake):
    land(lake, {"users": rows("users", user(age=30))})
    _, verdicts = land(lake, {"users": rows("users", user(age=30, created=5))})
    assert verdicts["users"].present == 1


def test_a_correction_back_to_the_first_content_is_a_correction(lake):
    land(lake, {"users": rows("users", user(age=30), user(age=31, created=5))})
    state, verdicts = land(lake, {"users": rows("users", user(age=30, created=9))})
    assert verdicts["users"].new.num_rows == 1
    assert ages(lake, state) == [("u1", 30)]


def test_a_correction_and_its_return_in_one_batch_both_count(lake):
    land(lake, {"users": rows("users", user(age=30))})
    news = {"users": rows("users", user(age=31, created=5), user(age=30, created=9))}
    state, verdicts = land(lake, news)
    assert verdicts["users"].new.num_rows == 2
    assert ages(lake, state) == [("u1", 30)]
    _, verdicts = land(lake, news)
    assert verdicts["users"].present == 2


def test_what_a_batch_says_twice_of_a_new_row_is_present_once(lake):
    land(lake, {"users": rows("users", user("u0"))})
    state, verdicts = land(lake, {"users": rows("users", user(), user(created=5))})
    assert (verdicts["users"].new.num_rows, verdicts["users"].present) == (1, 1)


def test_rows_of_a_two_column_key_are_told_apart(lake):
    pairs = [{"coupon_id": "c1", "product_id": p} for p in ("p1", "p2")]
    land(lake, {"coupon_products": rows("coupon_products", pairs[0])})
    _, verdicts = land(lake, {"coupon_products": rows("coupon_products", *pairs)})
    assert (verdicts["coupon_products"].present, verdicts["coupon_products"].new.num_rows) == (1, 1)


def test_the_content_hash_does_not_depend_on_the_order_of_rows(tmp_path):
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
def test_the_content_hash_tells_rows_apart_that_look_alike(tmp_path, left, right):
    found = [
        land(Lake(tmp_path / side), {"products": rows("products", {"product_id": "p1"} | content)})
        for side, content in (("left", left), ("right", right))
    ]
    assert hashes(found[0][0]) != hashes(found[1][0])


def test_a_table_that_assumes_when_it_was_learned_says_so_from_then_on(lake):
    state, _ = land(lake, {"users": rows("users", user("u1"))}, learned={"users": "stated"})
    assert state.tables["users"].learned == "stated"
    state, _ = land(lake, {"users": rows("users", user("u2"))}, learned={"users": "assumed"})
    assert state.tables["users"].learned == "assumed"
    state, _ = land(lake, {"users": rows("users", user("u3"))}, learned={"users": "stated"})
    assert state.tables["users"].learned == "assumed"


def test_rows_that_are_present_do_not_change_what_the_table_says_of_itself(lake):
    first, _ = land(lake, {"users": rows("users", user())}, learned={"users": "stated"})
    again, _ = land(lake, {"users": rows("users", user())}, learned={"users": "assumed"})
    assert again == first


def test_the_watermark_moves_on_without_rows_but_never_back(lake):
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


def test_the_quarantine_can_be_emptied_and_filled_again(lake):
    land(lake, {}, quarantined("q1"))
    state, _ = land(lake, {}, released={"q1"})
    assert held_ids(lake, state) == []
    assert state.tables["quarantine"].rows == 0
    state, _ = land(lake, {}, quarantined("q1"))
    assert held_ids(lake, state) == ["q1"]


def test_a_released_row_that_comes_again_stays_in_quarantine(lake):
    first, _ = land(lake, {}, quarantined("q1"))
    again, _ = land(lake, {}, quarantined("q1"), released={"q1"})
    assert again == first


def test_a_release_of_nothing_changes_nothing(lake):
    first, _ = land(lake, whole_batch())
    again, _ = land(lake, {}, released={"q1"})
    assert again == first


def test_an_empty_batch_still_makes_a_first_state(lake):
    state, _ = land(lake, {"users": rows("users")})
    assert (state.number, dict(state.tables)) == (1, {})
    assert lake.read("users", state).num_rows == 0
    assert isinstance(lake.known("events", state), pa.Table)
    assert content(lake, state)["users"] == []
