"""Requests for coupons: the baskets of a shop, and the requests in its decision log.

A basket of a user for whom a campaign is open is one visit, and one request of each ranker: `home`
ranks before the basket, `checkout` with its cart. Both have the instant of the basket. If the shop
has a decision log, a logged request is nearer to the truth: it replaces the request of the same
ranker that would be derived from the user's next basket within 24 hours. If several logged requests
precede one basket, the last one counts, so that no visit counts twice. A logged request that no
basket follows is a visit of its own.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.lake.duckdb_files import literal, parquet, query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.names import CHECKOUT, HOME

if TYPE_CHECKING:
    import pyarrow as pa

DECISIONS = "decisions"
"""The folder of the decision log in the state folder."""

NO_CART_DEPARTMENT = "COUPON"
"""Products of this department are coupons that a till scanned: they give away the redemption."""

_AT_CHECKOUT = f"placement IN ({', '.join(map(literal, CHECKOUT.placements))})"


def requests(lake: Lake, state: State) -> "pa.Table":
    """Reads the requests of one state of the lake, ordered by instant, then by request_id.

    Columns: ``request_id``, ``user_id`` and ``event_timestamp``; ``placement``, null for a basket;
    ``home`` and ``checkout``, true if the ranker of that key learns from the request; ``basket_id``
    and ``basket_timestamp`` of the basket that it leads to, null without one. Three lists hold the
    cart: ``cart_product_ids``, ``cart_quantities`` and ``cart_unit_prices``.

    Lines of a cart with quantity 0 or of the department COUPON are left out, and lines of one
    product are summed. A row without a quantity counts as one unit. The unit price is a float in
    minor units: times the quantity it is amount + coupon_match_discount, which a customer without
    the coupon would pay. An event without a basket_id is a basket of its own.

    A campaign is open to a user from the exposure on, from when it is learned, while one of its
    coupons is valid. An open audience needs no exposure. Requests at the watermark or later are
    left out, as their outcome is unknown.
    """
    return query(_sql(lake, state), logged=_logged(lake.home / DECISIONS))


def _sql(lake: Lake, state: State) -> str:
    return f"""
        WITH line AS (
            SELECT user_id, coalesce(basket_id, event_id) AS basket_id, event_timestamp, product_id,
                coalesce(quantity, 1) AS quantity,
                coalesce(amount, 0) + coalesce(coupon_match_discount, 0) AS amount
            FROM ({lake.known_sql("events", state)}) WHERE event_type = 'purchase'),
        basket AS (
            SELECT user_id, basket_id, min(event_timestamp) AS event_timestamp FROM line
            GROUP BY ALL),
        sent AS (
            SELECT * FROM logged
            WHERE event_timestamp < TIMESTAMPTZ '{state.watermark.isoformat()}'),
        kept AS ({_FOLLOWED}),
        request AS ({_BASKETS} UNION ALL BY NAME SELECT * FROM kept),
        exposure AS (
            SELECT user_id, campaign_id,
                min(greatest(event_timestamp, created_timestamp)) AS known_from
            FROM ({lake.known_sql("exposures", state)}) GROUP BY ALL),
        validity AS (
            SELECT DISTINCT campaign_id, audience, valid_from, valid_to
            FROM ({lake.known_sql("coupons", state)})),
        open AS ({_OPEN}),
        product AS (SELECT product_id, department FROM ({lake.known_sql("products", state)})),
        cart AS ({_CARTS})
        {_RESULT}"""


# The basket that each logged request leads to. Of several that lead to one, the last one is kept.
_FOLLOWED = f"""
    SELECT s.request_id, s.user_id, s.event_timestamp, s.placement,
        NOT s.at_checkout AS {HOME.key}, s.at_checkout AS {CHECKOUT.key},
        b.basket_id, b.event_timestamp AS basket_timestamp,
        s.cart_product_ids, s.cart_quantities, s.cart_unit_prices
    FROM sent s ASOF LEFT JOIN (
        SELECT user_id, event_timestamp, min(basket_id) AS basket_id FROM basket GROUP BY ALL) next
        ON s.user_id = next.user_id AND s.event_timestamp <= next.event_timestamp
    LEFT JOIN basket b ON b.user_id = s.user_id AND b.basket_id = next.basket_id
        AND b.event_timestamp <= s.event_timestamp + INTERVAL 24 HOURS
    QUALIFY b.basket_id IS NULL OR row_number() OVER (
        PARTITION BY s.user_id, s.at_checkout, b.basket_id
        ORDER BY s.event_timestamp DESC, s.request_id DESC) = 1"""

_BASKETS = f"""
    SELECT user_id || ':' || basket_id AS request_id, user_id, event_timestamp,
        NULL::VARCHAR AS placement,
        (user_id, basket_id) NOT IN (SELECT (user_id, basket_id) FROM kept
            WHERE {HOME.key} AND basket_id IS NOT NULL) AS {HOME.key},
        (user_id, basket_id) NOT IN (SELECT (user_id, basket_id) FROM kept
            WHERE {CHECKOUT.key} AND basket_id IS NOT NULL) AS {CHECKOUT.key},
        basket_id, event_timestamp AS basket_timestamp
    FROM basket"""

_OPEN = f"""
    SELECT * FROM request r WHERE ({HOME.key} OR {CHECKOUT.key}) AND (
        EXISTS (SELECT 1 FROM exposure e JOIN validity v USING (campaign_id)
            WHERE e.user_id = r.user_id AND e.known_from < r.event_timestamp
            AND v.valid_from <= r.event_timestamp AND r.event_timestamp < v.valid_to)
        OR EXISTS (SELECT 1 FROM validity v WHERE v.audience = 'open'
            AND v.valid_from <= r.event_timestamp AND r.event_timestamp < v.valid_to))"""

_CARTS = f"""
    SELECT user_id, basket_id, list(product_id ORDER BY product_id) AS product_ids,
        list(quantity ORDER BY product_id) AS quantities,
        list(amount / quantity ORDER BY product_id) AS unit_prices
    FROM (
        SELECT user_id, basket_id, product_id, sum(quantity)::DOUBLE AS quantity,
            sum(amount)::DOUBLE AS amount
        FROM line LEFT JOIN product USING (product_id)
        WHERE quantity > 0 AND product_id IS NOT NULL
            AND department IS DISTINCT FROM '{NO_CART_DEPARTMENT}' GROUP BY ALL)
    GROUP BY ALL"""

# A basket's cart is the basket; a logged cart is used as it was sent.
_RESULT = f"""
    SELECT request_id, user_id, event_timestamp, placement, {HOME.key}, {CHECKOUT.key}, basket_id,
        basket_timestamp,
        coalesce(cart_product_ids, c.product_ids, []) AS cart_product_ids,
        coalesce(cart_quantities, c.quantities, []) AS cart_quantities,
        coalesce(cart_unit_prices, c.unit_prices, []) AS cart_unit_prices
    FROM open LEFT JOIN cart c USING (user_id, basket_id)
    ORDER BY event_timestamp, request_id"""


def _logged(folder: Path) -> "pa.Table":
    """Reads the served requests of a decision log; an empty table if there is no log.

    Files that were written before the log had carts are left out.
    """
    columns = """
        SELECT NULL::VARCHAR AS request_id, NULL::VARCHAR AS user_id,
            NULL::TIMESTAMPTZ AS event_timestamp, NULL::VARCHAR AS placement,
            NULL::VARCHAR AS role, NULL::VARCHAR[] AS cart_product_ids,
            NULL::DOUBLE[] AS cart_quantities, NULL::DOUBLE[] AS cart_unit_prices WHERE false"""
    files = sorted(str(path) for path in folder.glob("*.parquet"))
    rows = f"UNION ALL BY NAME SELECT * FROM {_by_name(files)}" if files else ""
    return query(f"""
        SELECT DISTINCT ON (request_id) request_id, user_id, event_timestamp, placement,
            {_AT_CHECKOUT} AS at_checkout, cart_product_ids, cart_quantities, cart_unit_prices
        FROM ({columns} {rows}) WHERE role = 'served' AND cart_product_ids IS NOT NULL
        ORDER BY request_id, event_timestamp""")


def _by_name(files: list[str]) -> str:
    """Returns a DuckDB table function that reads files whose columns differ."""
    return f"{parquet(files)[:-1]}, union_by_name = true)"
