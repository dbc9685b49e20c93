"""The demo's example: a household with an open campaign, and its last basket as a cart."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feature_repo.lake.duckdb_files import query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.names import CHECKOUT
from feature_repo.sources.requests import requests


class NoVisit(LookupError):
    """The lake has no basket that an open coupon of its household covers."""


@dataclass(frozen=True)
class Visit:
    """The last basket of a household before the watermark.

    ``cart`` has its lines as in the HTTP API, with the prices that a customer without coupons pays.
    ``in_cart`` names, for each open coupon of the household, the products of the cart that it
    covers; ``covered`` is the number of these products.
    """

    user_id: str
    basket_timestamp: datetime
    cart: tuple[Mapping[str, Any], ...]
    in_cart: Mapping[str, list[str]]
    covered: int


def last_basket(lake: Lake) -> Visit:
    """Finds the household whose last basket the largest number of its open coupons cover.

    A coupon counts if it was open at the basket and still is at the watermark, and if the household
    has not redeemed it. Ties go to more covered products, then to the smaller user_id. Raises
    NoVisit if no basket is covered.
    """
    state = lake.state()
    found = query(_sql(lake, state), request=requests(lake, state)).to_pylist()
    if not found:
        raise NoVisit(
            "Expected a household with an open coupon that covers its last basket, got none "
            f"before {state.watermark.isoformat()}: ingest data that end within a campaign."
        )
    names: dict[str, list[str]] = {}
    for row in found:
        names.setdefault(row["coupon_id"], []).append(row["name"])
    first = found[0]
    return Visit(
        first["user_id"],
        first["event_timestamp"],
        _cart(first),
        names,
        len({row["product_id"] for row in found}),
    )


def _cart(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    columns = (row["cart_product_ids"], row["cart_quantities"], row["cart_unit_prices"])
    return tuple(
        {"product_id": product, "quantity": quantity, "unit_price": round(cents / 100, 6)}
        for product, quantity, cents in zip(*columns, strict=True)
    )


def _sql(lake: Lake, state: State) -> str:
    """Returns the query for the pairs of coupon and product in the cart, of one household."""
    end = f"TIMESTAMPTZ '{state.watermark.isoformat()}'"
    return f"""
        WITH last AS (
            SELECT * FROM request WHERE placement IS NULL AND {CHECKOUT.key}
            QUALIFY row_number() OVER (
                PARTITION BY user_id ORDER BY event_timestamp DESC, request_id) = 1),
        line AS (SELECT *, unnest(cart_product_ids) AS product_id FROM last),
        coupon AS (
            SELECT coupon_id, campaign_id, valid_from
            FROM ({lake.known_sql("coupons", state)}) WHERE valid_to > {end}),
        redeemed AS (
            SELECT DISTINCT user_id, coupon_id FROM ({lake.known_sql("redemptions", state)})),
        covered AS (
            SELECT DISTINCT line.*, coupon_id, coalesce(name, product_id) AS name
            FROM line JOIN ({lake.known_sql("coupon_products", state)}) USING (product_id)
            JOIN coupon USING (coupon_id)
            SEMI JOIN ({lake.known_sql("exposures", state)}) USING (user_id, campaign_id)
            ANTI JOIN redeemed USING (user_id, coupon_id)
            LEFT JOIN (SELECT product_id, name FROM ({lake.known_sql("products", state)}))
                USING (product_id)
            WHERE valid_from <= line.event_timestamp),
        chosen AS (
            SELECT user_id FROM covered GROUP BY user_id
            ORDER BY count(DISTINCT coupon_id) DESC, count(DISTINCT product_id) DESC, user_id
            LIMIT 1)
        SELECT * FROM covered SEMI JOIN chosen USING (user_id) ORDER BY coupon_id, name"""
