import pyarrow as pa
import pytest

from validation.check import Checked
from validation.quarantine import quarantine_schema
from validation.threshold import TooManyFailures, stop_if_too_many

ROWS_IN = {"events": 200, "users": 100}


def checked(*held: tuple[str, str]) -> Checked:
    """Returns a checked batch with these rows (table, rule) in quarantine."""
    rows = [
        {"table": table, "rule": rule, "reason": f"{table} row {number} breaks {rule}."}
        for number, (table, rule) in enumerate(held, 1)
    ]
    quarantined = pa.Table.from_pylist(rows, quarantine_schema())
    return Checked({}, quarantined, repeated={}, rows_in=ROWS_IN, results={})


def test_batch_without_failures_passes():
    assert stop_if_too_many(checked()) == {}
    assert stop_if_too_many(checked(), 0) == {}


def test_exactly_the_allowed_share_passes():
    assert stop_if_too_many(checked(*[("events", "minimum")] * 2), 0.01) == {"events": 0.01}


def test_one_row_above_the_allowed_share_stops():
    with pytest.raises(TooManyFailures):
        stop_if_too_many(checked(*[("events", "minimum")] * 3), 0.01)


def test_share_is_that_of_a_tables_own_rows():
    with pytest.raises(TooManyFailures, match="users: 2 of 100 rows"):
        stop_if_too_many(checked(*[("users", "maximum")] * 2), 0.01)


def test_message_names_table_share_the_most_frequent_rules_and_what_to_do():
    rules = ["minimum"] * 5 + ["not_null"] * 3 + ["conflict"] * 2 + ["maximum"]
    with pytest.raises(TooManyFailures) as stopped:
        stop_if_too_many(checked(*(("events", rule) for rule in rules), *[("users", "type")] * 2))
    assert str(stopped.value) == (
        "events: 11 of 200 rows (5.5%) failed, above the allowed 1% (users as well), so "
        "nothing landed. Most frequent: minimum 5 times, such as: events row 1 breaks minimum. "
        "not_null 3 times, such as: events row 6 breaks not_null. "
        "conflict 2 times, such as: events row 9 breaks conflict. "
        "Fix the source, or pass --max-failure-share 0.055."
    )


@pytest.mark.parametrize("failed", [3, 7, 33, 199, 200])
def test_advised_share_is_enough(failed):
    batch = checked(*[("events", "minimum")] * failed)
    with pytest.raises(TooManyFailures) as stopped:
        stop_if_too_many(batch)
    advised = float(str(stopped.value).split("--max-failure-share ")[1].rstrip("."))
    assert stop_if_too_many(batch, advised) == {"events": failed / 200}


@pytest.mark.parametrize("share", [-0.01, 1.01, 50])
def test_share_outside_zero_to_one_is_refused(share):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        stop_if_too_many(checked(), share)
