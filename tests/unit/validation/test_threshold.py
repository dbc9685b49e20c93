from dataclasses import dataclass, field

import pyarrow as pa
import pytest

from validation.quarantine import quarantine_schema
from validation.threshold import TooManyFailures, stop_if_too_many


@dataclass
class Judged:
    held: list[tuple[str, str]]
    rows_in: dict[str, int] = field(default_factory=lambda: {"events": 200, "users": 100})

    @property
    def quarantined(self) -> pa.Table:
        rows = [
            {"table": table, "rule": rule, "reason": f"{table} row {number} breaks {rule}."}
            for number, (table, rule) in enumerate(self.held, 1)
        ]
        return pa.Table.from_pylist(rows, quarantine_schema())


def test_batch_without_failures_goes_on():
    stop_if_too_many(Judged([]))
    stop_if_too_many(Judged([]), 0)


def test_exactly_the_allowed_share_goes_on():
    stop_if_too_many(Judged([("events", "minimum")] * 2), 0.01)


def test_one_row_above_the_allowed_share_stops():
    with pytest.raises(TooManyFailures):
        stop_if_too_many(Judged([("events", "minimum")] * 3), 0.01)


def test_each_table_is_held_to_the_share_of_its_own_rows():
    with pytest.raises(TooManyFailures, match="users: 2 of 100 rows"):
        stop_if_too_many(Judged([("users", "maximum")] * 2), 0.01)


def test_message_names_table_share_the_most_frequent_rules_and_what_to_do():
    rules = ["minimum"] * 5 + ["not_null"] * 3 + ["conflict"] * 2 + ["maximum"]
    with pytest.raises(TooManyFailures) as stopped:
        stop_if_too_many(Judged([("events", rule) for rule in rules] + [("users", "type")] * 2))
    assert str(stopped.value) == (
        "events: 11 of 200 rows (5.5%) failed, above the allowed 1% (so did users), so nothing "
        "landed; most frequent: minimum 5 times, as in: events row 1 breaks minimum. "
        "not_null 3 times, as in: events row 6 breaks not_null. "
        "conflict 2 times, as in: events row 9 breaks conflict. "
        "Fix the source, or pass --max-failure-share 0.055."
    )


@pytest.mark.parametrize("failed", [3, 7, 33, 199, 200])
def test_advised_share_is_enough(failed):
    judged = Judged([("events", "minimum")] * failed)
    with pytest.raises(TooManyFailures) as stopped:
        stop_if_too_many(judged)
    stop_if_too_many(judged, float(str(stopped.value).split("--max-failure-share ")[1].rstrip(".")))


@pytest.mark.parametrize("share", [-0.01, 1.01, 50])
def test_share_outside_zero_to_one_is_refused(share):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        stop_if_too_many(Judged([]), share)
