"""Random corruption: row counts add up, and the result equals a plain check of single rows."""

from collections import Counter, defaultdict
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feature_repo.contract import TABLES
from tests.support.validation_batches import AS_OF, batch, day, good_rows, rejected
from validation.check import check
from validation.suites import RULES

# Great Expectations itself imports a module that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")

VALUES = {
    "string": [None, "", "u0", "u1", "p9", "c0", "k1", "view", "purchase", "open", "gift", "cart"],
    "int64": [None, -1, 0, 1, 101, 151],
    "bool": [None, True, False],
    "timestamp": [None, day(0), day(10), day(40), AS_OF, AS_OF + timedelta(microseconds=1)],
}
LANDED = {("users", "user_id"): {"u7"}, ("coupons", "campaign_id"): {"open"}}


@st.composite
def spoiled(draw):
    """Draws a batch with missing tables, changed values, and copied or conflicting rows."""
    names = draw(st.lists(st.sampled_from(list(TABLES)), min_size=1, max_size=3, unique=True))
    rows = {name: good_rows(count=6)[name] for name in names}
    for _ in range(draw(st.integers(0, 25))):
        name = draw(st.sampled_from(names))
        row = draw(st.sampled_from(rows[name]))
        if draw(st.integers(0, 3)) == 0:
            row = dict(row)
            rows[name].append(row)
        if draw(st.integers(0, 3)) > 0:
            column = draw(st.sampled_from(TABLES[name].columns))
            row[column.name] = draw(st.sampled_from(VALUES[column.type]))
    return rows


def faults(name: str, row: dict, known: dict[str, set]) -> set[str]:
    """Returns the rules that a single row breaks, in plain Python."""
    found = set()
    for column in TABLES[name].columns:
        value = row[column.name]
        if value is None:
            found |= set() if column.nullable else {"not_null"}
        elif column.name.endswith("_id") and value == "":
            found.add("not_empty")
        elif column.allowed and not (set(value.split(" ")) if column.several else {value}) <= set(
            column.allowed
        ):
            found.add("allowed_values")
        elif column.minimum is not None and value < column.minimum:
            found.add("minimum")
        elif column.maximum is not None and value > column.maximum:
            found.add("maximum")
    for earlier, later in TABLES[name].ordered:
        if row[earlier] is not None and row[later] is not None and row[earlier] >= row[later]:
            found.add("time_order")
    past = ["created_timestamp"]
    past += ["event_timestamp"] if name in ("exposures", "events", "redemptions") else []
    if any(row[column] is not None and row[column] > AS_OF for column in past):
        found.add("in_the_future")
    needs = (row["product_id"], row["quantity"], row["amount"]) if name == "events" else ()
    if None in needs and row["event_type"] == "purchase":
        found.add("purchase_needs")
    for one, other in TABLES[name].together:
        if (row[one] is None) != (row[other] is None):
            found.add("contradiction")
    if name == "coupons" and _contradicts(row):
        found.add("contradiction")
    for column, ids in known.items():
        if row[column] is not None and row[column] not in ids:
            found.add("unknown_parent")
    return found


def _contradicts(coupon: dict) -> bool:
    return coupon["discount_type"] == "percent" and (coupon["discount_value"] or 0) > 100


def checked_by_hand(rows: dict[str, list[dict]]) -> tuple[dict, dict]:
    """Returns the broken rules by (table, row number), and the number of exact copies by table."""
    held, copies, passed = {}, Counter(), defaultdict(list)
    for name, table in ((name, table) for name, table in TABLES.items() if name in rows):
        seen: dict[tuple, dict[tuple, int]] = defaultdict(dict)
        known = {
            parent.column: LANDED.get((parent.table, parent.parent_column), set())
            | {row[parent.parent_column] for row in passed[parent.table]}
            for parent in table.parents
        }
        firsts = []
        for number, row in enumerate(rows[name], 1):
            identity = tuple(row[column] for column in (*table.key, "created_timestamp"))
            content = tuple(row[column] for column in table.column_names)
            if None not in identity and content in seen[identity]:
                copies[name] += 1
                continue
            seen[identity][content] = number
            firsts.append((number, identity, row))
        for number, identity, row in firsts:
            found = faults(name, row, known)
            if None not in identity and len(seen[identity]) > 1:
                found.add("conflict")
            if found:
                held[name, number] = found
            else:
                passed[name].append(row)
    return held, {name: copies[name] for name in rows}


# An example takes half a second, so shrinking a failing one would take minutes.
@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(rows=spoiled(), refused=st.integers(0, 2))
def test_each_row_passes_repeats_or_is_quarantined_as_in_a_plain_check(rows, refused):
    name = next(iter(rows))
    lost = rejected(*((900 + i, "type", f"{name} row {900 + i}", "{}") for i in range(refused)))
    checked = check(batch(rows), LANDED, AS_OF, rejected={name: lost})

    entries = checked.quarantined.to_pylist()
    counts = Counter(entry["table"] for entry in entries)
    for table, passed in checked.passed.items():
        assert checked.rows_in[table] == passed.num_rows + checked.repeated[table] + counts[table]
    assert checked.rows_in[name] == len(rows[name]) + refused

    held, copies = checked_by_hand(rows)
    kept = [entry for entry in entries if entry["row_number"] < 900]
    named = {
        (entry["table"], entry["row_number"]): {
            part.split(": ")[0] for part in entry["reason"].split(" breaks ")[1].split("; and ")
        }
        for entry in kept
    }
    assert named == held
    for entry in kept:
        assert entry["rule"] == min(held[entry["table"], entry["row_number"]], key=RULES.index)
    assert checked.repeated == copies
    assert len({entry["quarantine_id"] for entry in entries}) == len(entries)
