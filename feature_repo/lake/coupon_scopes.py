"""The names of the products that a coupon covers, for people who read a list of coupons."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from feature_repo.lake.duckdb_files import query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State


class CoveredProducts(NamedTuple):
    """The products that a coupon covers; products of the same name are one.

    ``products`` is their number and ``names`` holds some of their names, in no order. ``own`` holds
    the names that the user bought most often, with the number of purchases, as in "Milk x3".
    """

    products: int
    names: list[str]
    own: list[str]


def covered_products(
    lake: Lake, state: State, user_id: str, coupon_ids: Iterable[str], as_of: datetime, most: int
) -> dict[str, CoveredProducts]:
    """Reads the products that coupons cover, at most ``most`` names of a kind for each coupon.

    Purchases known before ``as_of`` are counted. A coupon without products is left out.
    """
    import pyarrow as pa

    rows = query(
        f"""
        WITH pairs AS (
            SELECT DISTINCT coupon_id, product_id FROM ({lake.scan("coupon_products", state)})
            WHERE coupon_id IN (SELECT coupon_id FROM wanted)),
        names AS (SELECT product_id, coalesce(arg_max(name, created_timestamp), product_id) AS name
            FROM ({lake.scan("products", state)}) GROUP BY product_id),
        sold AS (SELECT product_id, count(*) AS times, count(*) FILTER (user_id = $user_id) AS own
            FROM ({lake.known_sql("events", state, as_of)})
            WHERE event_type = 'purchase' GROUP BY 1),
        named AS (SELECT coupon_id, product_id, name, coalesce(times, 0) AS times,
            coalesce(own, 0) AS own
            FROM pairs JOIN names USING (product_id) LEFT JOIN sold USING (product_id))
        SELECT coupon_id, count(DISTINCT product_id) AS products,
            list_distinct(list(name ORDER BY times DESC, name)) AS listed,
            list(name || ' x' || own ORDER BY own DESC, name) FILTER (own > 0) AS own
        FROM (SELECT coupon_id, min(product_id) AS product_id, name, sum(times) AS times,
            sum(own) AS own FROM named GROUP BY coupon_id, name) GROUP BY coupon_id
        """,
        {"user_id": user_id},
        wanted=pa.table({"coupon_id": pa.array(list(coupon_ids), pa.string())}),
    )
    return {
        row["coupon_id"]: CoveredProducts(
            row["products"], row["listed"][:most], (row["own"] or [])[:most]
        )
        for row in rows.to_pylist()
    }
