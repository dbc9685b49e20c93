"""A whole batch: parents, rejected rows, freshness, and batches of the wrong shape."""

import gc
import json
import logging
from datetime import timedelta

import pandas as pd
import pyarrow as pa
import pytest

from feature_repo.contract import TABLES, arrow_schema
from tests.support.validation_batches import AS_OF, arrow, batch, day, good_rows, rejected
from validation.batch_shape import BatchError
from validation.check import check
from validation.findings import CONFLICT

# Great Expectations itself imports a module that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")


def test_good_batch_passes_whole_and_unchanged():
    rows = good_rows()
    checked = check(batch(rows), {}, AS_OF)
    assert checked.quarantined.num_rows == 0
    for name, passed in checked.passed.items():
        assert passed.schema.equals(arrow_schema(TABLES[name]))
        assert passed.to_pylist() == rows[name]
    assert list(checked.statistics) == list(TABLES)
    assert all(one["unsuccessful_expectations"] == 0 for one in checked.statistics.values())


def test_children_of_a_quarantined_parent_wait_in_quarantine():
    rows = good_rows()
    rows["coupons"][2]["discount_value"] = -1
    held = check(batch(rows), {}, AS_OF).quarantined.to_pylist()
    assert [(row["table"], row["row_id"], row["rule"]) for row in held] == [
        ("coupons", "c2", "minimum"),
        ("coupon_products", "c2:p2", "unknown_parent"),
        ("coupon_terms", "c2", "unknown_parent"),
        ("redemptions", "r2", "unknown_parent"),
    ]


@pytest.mark.parametrize("kind", [set, list, pa.array, lambda ids: pa.chunked_array([ids])])
def test_parents_in_the_lake_count(kind):
    rows = {"events": good_rows()["events"]}
    users, products = ([f"{letter}{i}" for i in range(3)] for letter in "up")
    parents = {("users", "user_id"): kind(users), ("products", "product_id"): kind(products)}
    assert check(batch(rows), parents, AS_OF).passed["events"].num_rows == 3


def test_parents_in_the_lake_and_in_the_batch_count_together():
    rows = good_rows()
    rows = {"users": rows["users"][:1], "products": rows["products"], "events": rows["events"]}
    checked = check(batch(rows), {("users", "user_id"): {"u1"}}, AS_OF)
    assert [row["row_id"] for row in checked.quarantined.to_pylist()] == ["e2"]


def test_rows_that_the_adapter_rejected_are_quarantined_and_counted():
    users = arrow("users", good_rows()["users"])
    refused = rejected((4, "type", "users row 4: age_min should be int64.", '{"user_id": "u7"}'))
    checked = check({"users": users}, {}, AS_OF, rejected={"users": refused})
    (held,) = checked.quarantined.to_pylist()
    assert (held["rule"], held["row_id"], held["row_number"]) == ("type", "u7", 4)
    assert held["reason"] == "users row 4: age_min should be int64."
    assert checked.rows_in == {"users": 4}
    assert checked.statistics["users"]["unsuccessful_expectations"] == 1


def test_table_with_rejected_rows_only_is_counted():
    refused = rejected((1, "naive_time", "It has no zone.", "not json"))
    checked = check({}, {}, AS_OF, rejected={"events": refused})
    assert (checked.rows_in, checked.passed["events"].num_rows) == ({"events": 1}, 0)


def test_empty_table_passes():
    checked = check(batch({"users": [], "events": []}), {}, AS_OF)
    assert checked.rows_in == {"users": 0, "events": 0}
    assert checked.passed["events"].num_rows == 0


def test_old_events_give_a_warning_and_pass():
    rows = {name: good_rows()[name] for name in ("users", "products", "events")}
    checked = check(batch(rows), {}, AS_OF, fresh_within=timedelta(days=1))
    (warning,) = checked.warnings
    assert warning.startswith("events: the newest event_timestamp should be within 1 day")
    assert "2017-03-03 00:00:00" in warning
    assert checked.passed["events"].num_rows == 3


def test_fresh_events_give_no_warning():
    rows = {name: good_rows()[name] for name in ("users", "products", "events")}
    assert check(batch(rows), {}, day(3), fresh_within=timedelta(days=1)).warnings == ()


def test_payload_is_the_row_and_a_second_check_gives_the_same_id():
    rows = good_rows()["users"]
    rows[1] |= {"age_min": -1}
    first, second = (
        check(batch({"users": some}), {}, AS_OF).quarantined.to_pylist()[0]
        for some in (rows, rows[1:])
    )
    assert first["quarantine_id"] == second["quarantine_id"]
    content = json.loads(first["payload"])
    assert list(content) == list(TABLES["users"].column_names)
    assert content["age_min"] == -1 and content["is_married"] is True
    assert content["event_timestamp"] == "2017-03-02T00:00:00.000000Z"


def test_progress_is_called_after_each_table():
    rows, calls = good_rows(), []
    check(
        batch({name: rows[name] for name in ("products", "users")}),
        {},
        AS_OF,
        progress=lambda *call: calls.append(call),
    )
    assert calls == [("users", 1, 2), ("products", 2, 2)]


def test_no_frame_stays_in_memory_after_the_check():
    check(batch({"users": good_rows()["users"]}), {}, AS_OF)
    gc.collect()
    frames = [each for each in gc.get_objects() if isinstance(each, pd.DataFrame)]
    assert not [frame for frame in frames if CONFLICT in frame.columns]


def test_counts_are_logged_in_one_line_for_each_table(caplog):
    with caplog.at_level(logging.INFO, "validation.check"):
        check(batch({"users": good_rows()["users"]}), {}, AS_OF)
    assert "users: 3 rows in, 3 passed, 0 repeated, 0 quarantined" in caplog.text


def _without(name: str) -> pa.Table:
    return arrow("users", good_rows()["users"]).drop_columns([name])


def _as_text(name: str) -> pa.Table:
    users = arrow("users", good_rows()["users"])
    position = users.schema.get_field_index(name)
    return users.set_column(position, name, users[name].cast(pa.string()))


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (_without("age_min"), "users needs the columns age_min, but has only user_id"),
        (_without("_row"), "users needs the columns _row"),
        (_as_text("age_min"), "users.age_min must be of type int64, but is string"),
        (_as_text("event_timestamp"), "must be of type timestamp.us, tz=UTC., but is string"),
        (
            arrow("users", good_rows()["users"]).append_column("mood", pa.array(["a", "b", "c"])),
            "columns that are not in the contract, or has a column twice .mood.",
        ),
        (
            pa.concat_tables([arrow("users", good_rows()["users"])] * 2),
            "The row numbers of users .* some are null or come twice",
        ),
    ],
)
def test_table_of_the_wrong_shape_is_refused_with_a_sentence(users, message):
    with pytest.raises(BatchError, match=message):
        check({"users": users}, {}, AS_OF)


def test_unknown_table_is_refused_with_a_sentence():
    with pytest.raises(BatchError, match="The contract has no table 'customers', only users"):
        check({"customers": arrow("users", [])}, {}, AS_OF)


def test_row_number_that_is_both_read_and_rejected_is_refused():
    users = arrow("users", good_rows()["users"])
    with pytest.raises(BatchError, match="come twice"):
        check({"users": users}, {}, AS_OF, rejected={"users": rejected((3, "type", "", ""))})


def test_naive_as_of_is_refused():
    with pytest.raises(BatchError, match="as_of must be an instant with a time zone"):
        check({}, {}, AS_OF.replace(tzinfo=None))
