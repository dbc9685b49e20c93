import json

import numpy as np
import pyarrow as pa

from feature_repo.contract import COUPON_PRODUCTS, arrow_schema
from validation import quarantine
from validation.suite_runner import Failure

SCHEMA = pa.schema([field.with_nullable(True) for field in arrow_schema(COUPON_PRODUCTS)])


def pairs(*ids: tuple[str | None, str]) -> pa.Table:
    rows = [{"coupon_id": coupon, "product_id": product} for coupon, product in ids]
    table = pa.Table.from_pylist(rows, SCHEMA)
    return table.append_column("_row", pa.array(range(1, len(rows) + 1), pa.int64()))


def failure(rule: str, *rows: int) -> Failure:
    sentence = "product_id must be known, but is {product_id}"
    return Failure(rule, "product_id", sentence, np.array(rows))


def test_each_failing_row_is_quarantined_once_under_its_first_rule():
    failures = (failure("not_empty", 3), failure("unknown_parent", 1, 3))
    held = quarantine.failing(COUPON_PRODUCTS, pairs(("a", "x"), ("a", "y"), ("b", "z")), failures)
    assert held["row_number"].to_pylist() == [1, 3]
    assert held["rule"].to_pylist() == ["unknown_parent", "not_empty"]
    assert held["reason"].to_pylist() == [
        "coupon_products row 1 (a:x) breaks unknown_parent: product_id must be known, but is x.",
        "coupon_products row 3 (b:z) breaks not_empty: product_id must be known, but is z; "
        "and unknown_parent: product_id must be known, but is z.",
    ]


def test_braces_in_the_data_are_not_formatted_and_long_values_are_cut():
    rows = pairs(("a", "{coupon_id}"), ("a", "y" * 999))
    held = quarantine.failing(COUPON_PRODUCTS, rows, (failure("unknown_parent", 1, 2),))
    assert held["reason"][0].as_py().endswith("but is {coupon_id}.")
    assert held["reason"][1].as_py().endswith(f"but is {'y' * 60}....")
    assert json.loads(held["payload"][1].as_py())["product_id"] == "y" * 999


def test_equal_rows_without_a_key_get_different_and_reproducible_ids():
    rows = pairs((None, "x"), (None, "x"))
    first, again = (
        quarantine.failing(COUPON_PRODUCTS, rows, (failure("not_null", 1, 2),)) for _ in range(2)
    )
    assert len(set(first["quarantine_id"].to_pylist())) == 2
    assert first.equals(again)
    assert first["row_id"].to_pylist() == ["null:x", "null:x"]


def test_id_does_not_depend_on_the_position_in_the_source():
    one, other = pairs(("a", "x"), ("b", "x")), pairs(("b", "x"))
    ids = (
        quarantine.failing(COUPON_PRODUCTS, one, (failure("unknown_parent", 2),)),
        quarantine.failing(COUPON_PRODUCTS, other, (failure("unknown_parent", 1),)),
    )
    assert ids[0]["quarantine_id"].equals(ids[1]["quarantine_id"])


def test_reason_of_a_conflict_with_the_lake_names_the_key():
    held = quarantine.conflicting("coupon_products", pairs(("a", "x")).drop_columns(["_row"]))
    assert held.schema == quarantine.quarantine_schema()
    (row,) = held.to_pylist()
    assert (row["rule"], row["row_number"]) == ("conflict", None)
    assert row["reason"] == (
        "coupon_products row (a:x) breaks conflict: rows with the same coupon_id, product_id, "
        "created_timestamp must have the same content, but the row in the lake differs."
    )


def test_rejected_row_keeps_the_reason_of_the_adapter_for_any_payload():
    payloads = ['{"coupon_id": "a", "product_id": "x"}', "not json", "[1]", None]
    rejected = pa.table(
        {
            "row_number": range(1, 5),
            "rule": ["type"] * 4,
            "reason": ["It is no number."] * 4,
            "payload": payloads,
        }
    )
    held = quarantine.rejected(COUPON_PRODUCTS, rejected)
    assert held.schema == quarantine.quarantine_schema()
    assert held["row_id"].to_pylist() == ["a:x", "null:null", "null:null", "null:null"]
    assert held["payload"].to_pylist() == payloads
    assert set(held["reason"].to_pylist()) == {"It is no number."}
