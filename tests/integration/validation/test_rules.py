"""Each rule of the contract, with one bad row among good ones."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from feature_repo.contract import TABLES
from tests.support.validation_batches import AS_OF, batch, day, good_rows
from validation.check import check
from validation.docs import write_docs

# Great Expectations itself imports a module that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")

LATER = AS_OF + timedelta(seconds=1)

CASES = [
    ("users", {"user_id": None}, "not_null", "user_id must not be null"),
    ("events", {"user_id": None}, "not_null", "user_id must not be null"),
    ("events", {"created_timestamp": None}, "not_null", "created_timestamp must not be null"),
    ("products", {"product_id": ""}, "not_empty", "product_id must not be empty"),
    ("events", {"basket_id": ""}, "not_empty", "basket_id must not be empty"),
    ("events", {"event_type": "purchased"}, "allowed_values", "purchase, but is purchased"),
    ("coupons", {"audience": "all"}, "allowed_values", "targeted, open, but is all"),
    ("coupons", {"discount_type": "free"}, "allowed_values", "but is free"),
    ("events", {"amount": -1}, "minimum", "amount must be at least 0, but is -1"),
    ("coupons", {"per_user_limit": -1}, "minimum", "per_user_limit must be at least 0"),
    ("events", {"event_timestamp": datetime(1969, 12, 31, tzinfo=UTC)}, "minimum", "1970-01-01"),
    ("events", {"amount": 2**63 - 1}, "maximum", "amount must be at most 1000000000000"),
    ("users", {"age_min": 151}, "maximum", "age_min must be at most 150, but is 151"),
    ("coupons", {"valid_to": day(10)}, "time_order", "valid_to must be after valid_from"),
    ("coupons", {"valid_to": day(1)}, "time_order", "valid_to must be after event_timestamp"),
    ("events", {"event_timestamp": LATER}, "in_the_future", "must not be after 2017-07-01"),
    ("redemptions", {"event_timestamp": LATER}, "in_the_future", "but is 2017-07-01T00:00:01"),
    ("users", {"created_timestamp": LATER}, "in_the_future", "created_timestamp must not be after"),
    ("events", {"amount": None}, "purchase_needs", "but lacks amount"),
    ("events", {"product_id": None, "quantity": None}, "purchase_needs", "product_id, quantity"),
    ("coupons", {"discount_value": 101}, "contradiction", "a percent discount must be at most 100"),
    (
        "coupons",
        {"discount_type": "amount_off_over_threshold"},
        "contradiction",
        "must have a min_spend",
    ),
    ("coupon_terms", {"period_days": None}, "contradiction", "period_limit and period_days must"),
    ("coupon_terms", {"impression_days": 3}, "contradiction", "impression_days must be stated"),
    ("coupon_terms", {"placements": "home roof"}, "allowed_values", "campaign, but is home roof"),
    ("coupon_terms", {"placements": "home  cart"}, "allowed_values", "one or more of home, cart"),
    ("coupon_terms", {"campaign_budget": -1}, "minimum", "campaign_budget must be at least 0"),
    ("coupon_terms", {"min_margin": 101}, "maximum", "min_margin must be at most 100"),
    ("coupon_terms", {"gift_product_id": "p9"}, "unknown_parent", "but p9 does not"),
    ("product_terms", {"stock": -1}, "minimum", "stock must be at least 0, but is -1"),
    ("events", {"user_id": "u9"}, "unknown_parent", "exist in users.user_id, but u9 does not"),
    ("events", {"product_id": "p9"}, "unknown_parent", "exist in products.product_id"),
    ("coupon_products", {"product_id": "p9"}, "unknown_parent", "but p9 does not"),
    ("exposures", {"campaign_id": "k9"}, "unknown_parent", "exist in coupons.campaign_id"),
]


def landed_ids(rows: dict[str, list[dict]]) -> dict[tuple[str, str], set[str]]:
    """The ids of these rows as parents that are in the lake, so that one table is checked alone."""
    return {
        (parent.table, parent.parent_column): {
            row[parent.parent_column] for row in rows[parent.table]
        }
        for table in TABLES.values()
        for parent in table.parents
    }


@pytest.mark.parametrize(("name", "change", "rule", "words"), CASES)
def test_bad_row_is_quarantined_with_its_rule_and_reason(name, change, rule, words):
    rows = good_rows()
    landed = landed_ids(rows)
    rows[name][1] |= change
    checked = check(batch({name: rows[name]}), landed, AS_OF)
    (held,) = checked.quarantined.to_pylist()
    assert (held["table"], held["row_number"], held["rule"]) == (name, 2, rule)
    assert held["reason"].startswith(f"{name} row 2 (")
    assert f"breaks {rule}: " in held["reason"] and words in held["reason"]
    assert checked.passed[name].num_rows == len(rows[name]) - 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("events", {"quantity": 0}),
        ("events", {"event_timestamp": AS_OF, "created_timestamp": AS_OF}),
        ("events", {"created_timestamp": day(0), "event_timestamp": day(5)}),
        ("events", {"event_type": "search", "product_id": None, "amount": None}),
        ("coupons", {"valid_from": LATER, "valid_to": LATER + timedelta(days=1)}),
        ("coupons", {"event_timestamp": LATER, "valid_to": LATER + timedelta(days=1)}),
        ("coupons", {"valid_to": datetime(9999, 12, 31, tzinfo=UTC)}),
        ("users", {"age_min": 0, "is_married": None}),
        ("users", {"event_timestamp": LATER}),
    ],
)
def test_row_that_the_contract_allows_passes(name, change):
    rows = good_rows()
    landed = landed_ids(rows)
    rows[name][1] |= change
    checked = check(batch({name: rows[name]}), landed, AS_OF)
    assert checked.quarantined.num_rows == 0
    assert checked.passed[name].num_rows == 3


def test_rows_of_one_identity_and_different_content_are_all_conflicts():
    rows = good_rows()["users"]
    rows += [rows[0] | {"age_min": 40}, rows[0] | {"age_min": 50}]
    checked = check(batch({"users": rows}), {}, AS_OF)
    held = checked.quarantined.to_pylist()
    assert [(row["row_number"], row["rule"]) for row in held] == [
        (1, "conflict"),
        (4, "conflict"),
        (5, "conflict"),
    ]
    assert (
        "user_id, created_timestamp must have the same content, but rows 1, 4, 5 differ"
        in held[0]["reason"]
    )


def test_correction_learned_later_passes_beside_the_first_version():
    rows = good_rows()["users"]
    rows.append(rows[0] | {"age_min": 40, "created_timestamp": day(9)})
    checked = check(batch({"users": rows}), {}, AS_OF)
    assert checked.passed["users"].num_rows == 4


def test_exact_copy_counts_as_repeated_and_not_as_a_failure():
    rows = good_rows()["users"]
    checked = check(batch({"users": [*rows, rows[2], rows[2]]}), {}, AS_OF)
    assert checked.repeated == {"users": 2}
    assert checked.rows_in == {"users": 5}
    assert checked.quarantined.num_rows == 0
    assert checked.passed["users"].num_rows == 3


def test_row_with_several_faults_is_quarantined_once_and_names_all_of_them():
    rows = good_rows()
    rows["events"][1] |= {"amount": -5, "user_id": "u9", "created_timestamp": None}
    rows = {name: rows[name] for name in ("users", "products", "events")}
    (held,) = check(batch(rows), {}, AS_OF).quarantined.to_pylist()
    assert held["rule"] == "not_null"
    assert held["reason"] == (
        "events row 2 (e1) breaks not_null: created_timestamp must not be null, but is null; "
        "and minimum: amount must be at least 0, but is -5; "
        "and unknown_parent: user_id must exist in users.user_id, but u9 does not."
    )


def test_rows_with_a_null_in_the_key_do_not_conflict():
    rows = good_rows()["products"]
    rows += [rows[0] | {"product_id": None, "name": name} for name in ("Salt", "Salt", "Oil")]
    checked = check(batch({"products": rows}), {}, AS_OF)
    held = checked.quarantined.to_pylist()
    assert [row["rule"] for row in held] == ["not_null"] * 3
    assert not any("conflict" in row["reason"] for row in held)
    assert len({row["quarantine_id"] for row in held}) == 3


@pytest.mark.parametrize(("micros", "rule"), [(10**18, "maximum"), (-(10**18), "minimum")])
def test_instant_that_python_cannot_represent_is_checked_too(micros, rule, tmp_path):
    coupons = batch({"coupons": good_rows()["coupons"]})["coupons"]
    far = pa.array([None, micros, None], pa.int64()).cast(pa.timestamp("us", "UTC"))
    position = coupons.schema.get_field_index("valid_from")
    coupons = coupons.set_column(position, "valid_from", far)
    checked = check({"coupons": coupons}, {}, AS_OF)
    assert checked.quarantined["rule"].to_pylist() == ["not_null", rule, "not_null"]
    assert write_docs(checked, tmp_path, AS_OF).exists()
