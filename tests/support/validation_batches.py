"""A small batch of valid rows, which the validation tests change."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from feature_repo.contract import TABLES, arrow_schema

AS_OF = datetime(2017, 7, 1, tzinfo=UTC)
MARCH = datetime(2017, 3, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return MARCH + timedelta(days=number)


def good_rows(count: int = 3) -> dict[str, list[dict]]:
    """Returns ``count`` rows for each table as dicts; children refer to existing parents."""
    rows = {
        "users": [{"user_id": f"u{i}", "age_min": 30, "is_married": True} for i in range(count)],
        "products": [{"product_id": f"p{i}", "name": f"Milk {i}"} for i in range(count)],
        "coupons": [_coupon(i) for i in range(count)],
        "coupon_products": [{"coupon_id": f"c{i}", "product_id": f"p{i}"} for i in range(count)],
        "coupon_terms": [
            {"coupon_id": f"c{i}", "placements": "home cart", "period_limit": 2, "period_days": 7}
            for i in range(count)
        ],
        "product_terms": [{"product_id": f"p{i}", "stock": i} for i in range(count)],
        "exposures": [
            {"exposure_id": f"x{i}", "user_id": f"u{i}", "campaign_id": "k1"} for i in range(count)
        ],
        "events": [_purchase(i) for i in range(count)],
        "redemptions": [
            {"redemption_id": f"r{i}", "user_id": f"u{i}", "coupon_id": f"c{i}"}
            for i in range(count)
        ],
    }
    for name, table_rows in rows.items():
        for number, row in enumerate(table_rows):
            row.setdefault("event_timestamp", day(number))
            row.setdefault("created_timestamp", day(number))
            for column in TABLES[name].column_names:
                row.setdefault(column, None)
    return rows


def _coupon(i: int) -> dict:
    return {
        "coupon_id": f"c{i}",
        "coupon_code": f"code{i}",
        "campaign_id": "k1",
        "audience": "targeted",
        "discount_type": "percent",
        "discount_value": 10,
        "per_user_limit": 1,
        "valid_from": day(10),
        "valid_to": day(40),
    }


def _purchase(i: int) -> dict:
    return {
        "event_id": f"e{i}",
        "user_id": f"u{i}",
        "event_type": "purchase",
        "product_id": f"p{i}",
        "basket_id": f"b{i}",
        "quantity": 0,
        "amount": 100 + i,
        "retail_discount": 5,
    }


def arrow(name: str, rows: list[dict]) -> pa.Table:
    """Converts the rows to contract types and adds ``_row`` from 1."""
    schema = pa.schema([field.with_nullable(True) for field in arrow_schema(TABLES[name])])
    table = pa.Table.from_pylist(rows, schema)
    return table.append_column("_row", pa.array(range(1, len(rows) + 1), pa.int64()))


def batch(rows: dict[str, list[dict]]) -> dict[str, pa.Table]:
    return {name: arrow(name, table_rows) for name, table_rows in rows.items()}


def rejected(*rows: tuple[int, str, str, str]) -> pa.Table:
    names = ("row_number", "rule", "reason", "payload")
    kinds = pa.schema([(name, pa.int64() if name == names[0] else pa.string()) for name in names])
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], kinds)
