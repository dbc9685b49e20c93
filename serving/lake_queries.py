"""What the service holds of what the lake knows: ids, terms, redemptions, departments."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from serving.candidates.terms import TermColumns
from serving.events.redemption_feed import RedemptionSeen
from serving.online.feast_reader import FeastOnline

_DAYS_BACK = (1, 7, 28)
"""How far to look for who did something: a shop with many users is not read further than needed."""


def coupon_ids(lake: Any) -> list[str]:
    """The ids of all coupons that the lake knows now."""
    return sorted(lake.known("coupons", lake.state())["coupon_id"].to_pylist())


def product_ids(lake: Any) -> frozenset[str]:
    """The ids of all products that the lake knows now."""
    return frozenset(lake.known("products", lake.state())["product_id"].to_pylist())


def stated_terms(lake: Any, terms: FeastOnline) -> TermColumns:
    """The terms of all coupons and products for which the lake has any."""
    state = lake.state()
    coupons, products = (
        sorted(lake.known(f"{name}_terms", state)[f"{name}_id"].to_pylist())
        for name in ("coupon", "product")
    )
    return TermColumns(terms.coupons(coupons), terms.products(products))


def active_users(lake: Any, most: int) -> list[str]:
    """The ids of those who did something last, the last one first; at most so many.

    Nobody is among them who did nothing in the last weeks.
    """
    from feature_repo.lake.duckdb_files import query

    state, found = lake.state(), []
    for days in _DAYS_BACK:
        start = state.watermark - timedelta(days=days)
        rows = query(
            f"SELECT user_id FROM ({lake.scan('events', state, start, state.watermark)}) "
            f"GROUP BY user_id ORDER BY max(event_timestamp) DESC, user_id LIMIT {most}"
        )
        found = rows["user_id"].to_pylist()
        if len(found) == most:
            break
    return found


def redeemed(lake: Any, coupons: Collection[str], names: Collection[str]) -> list[RedemptionSeen]:
    """The redemptions of these ids, and those of which any version names one of these coupons.

    Each is as its version says that counts now.
    """
    import pyarrow as pa

    from feature_repo.lake.duckdb_files import query

    state = lake.state()
    rows = query(
        "SELECT redemption_id, user_id, coupon_id, epoch_us(event_timestamp), discount_amount "
        f"FROM ({lake.known_sql('redemptions', state)}) WHERE redemption_id IN ("
        f"SELECT redemption_id FROM ({lake.scan('redemptions', state)}) "
        "WHERE coupon_id IN (SELECT coupon_id FROM wanted) UNION SELECT name FROM named)",
        wanted=pa.table({"coupon_id": pa.array(sorted(coupons), pa.string())}),
        named=pa.table({"name": pa.array(sorted(names), pa.string())}),
    )
    return [RedemptionSeen(*row.values()) for row in rows.to_pylist()]


def coupon_departments(lake: Any) -> dict[str, str]:
    """The department of most of a coupon's products, by coupon; of equals the first in order."""
    from feature_repo.lake.duckdb_files import query

    state = lake.state()
    covered, products = (lake.known_sql(name, state) for name in ("coupon_products", "products"))
    rows = query(
        "SELECT coupon_id, department FROM ("
        f"SELECT coupon_id, department, count(*) AS products FROM ({covered}) "
        f"JOIN ({products}) USING (product_id) WHERE department IS NOT NULL GROUP BY ALL) "
        "QUALIFY row_number() OVER (PARTITION BY coupon_id ORDER BY products DESC, department) = 1"
    )
    return dict(zip(*(rows[name].to_pylist() for name in ("coupon_id", "department")), strict=True))
