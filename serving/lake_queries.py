"""SQL queries on the lake: plans, active users, redemptions, departments."""

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING

from serving.candidates.index import BuildIndex
from serving.errors import NotReady
from serving.events.redemption_feed import RedemptionSeen
from serving.online.feast_reader import FeastOnline
from serving.planned_index import planned_index

if TYPE_CHECKING:
    from feature_repo.lake.reader import Lake

_DAYS_BACK = (1, 7, 28)
"""Days of events to read for active users; each step only if the one before finds too few."""


def published_number(lake: "Lake") -> int | None:
    """Returns the number of the newest published state; None if there is none."""
    from feature_repo.publication.plans import newest_published

    state = newest_published(lake)
    return None if state is None else state.number


def load_index(lake: "Lake", online: FeastOnline) -> BuildIndex:
    """Reads the newest plans and all coupons online; returns the function that builds an index.

    Raises NotReady if no state of the lake is published.
    """
    from feature_repo.lake.product_attributes import product_attributes
    from feature_repo.publication.plans import newest_published, read_plans

    state = newest_published(lake)
    if state is None:
        raise NotReady("The lake has no published features; run `clipwise materialize`.")
    plans = read_plans(lake, state)
    stored = online.coupons(plans.coupon_ids)
    return planned_index(plans, stored, product_attributes(lake, state))


def active_users(lake: "Lake", limit: int) -> list[str]:
    """Returns at most ``limit`` ids of users with an event, the most recent event first.

    Leaves out users without an event in the last 28 days of the lake.
    """
    from feature_repo.lake.duckdb_files import query

    state, found = lake.state(), []
    for days in _DAYS_BACK:
        start = state.watermark - timedelta(days=days)
        rows = query(
            f"SELECT user_id FROM ({lake.scan('events', state, start, state.watermark)}) "
            f"GROUP BY user_id ORDER BY max(event_timestamp) DESC, user_id LIMIT {limit}"
        )
        found = rows["user_id"].to_pylist()
        if len(found) == limit:
            break
    return found


def redemptions(
    lake: "Lake", coupons: Collection[str], redemption_ids: Collection[str]
) -> list[RedemptionSeen]:
    """Returns redemptions with these ids or coupons (in any version), in their current version.

    Those that were taken back are among them.
    """
    import pyarrow as pa

    from feature_repo.lake.duckdb_files import query

    state = lake.state()
    rows = query(
        "SELECT redemption_id, user_id, coupon_id, epoch_us(event_timestamp), discount_amount, "
        f"coalesce(canceled_timestamp < '{state.watermark.isoformat()}', false) "
        f"FROM ({lake.known_sql('redemptions', state, with_ended=True)}) WHERE redemption_id IN ("
        f"SELECT redemption_id FROM ({lake.scan('redemptions', state)}) "
        "WHERE coupon_id IN (SELECT coupon_id FROM wanted) UNION SELECT name FROM named)",
        wanted=pa.table({"coupon_id": pa.array(sorted(coupons), pa.string())}),
        named=pa.table({"name": pa.array(sorted(redemption_ids), pa.string())}),
    )
    return [RedemptionSeen(*row.values()) for row in rows.to_pylist()]


def coupon_departments(lake: "Lake") -> dict[str, str]:
    """Returns each coupon's department: that of most of its products, ties by name."""
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
