"""The candidates of a request: the union of the campaigns that were open for a user."""

from typing import TYPE_CHECKING

from feature_repo.instants import from_microseconds
from feature_repo.lake.duckdb_files import query

if TYPE_CHECKING:
    import pyarrow as pa


def request_exposures(exposures: "pa.Table", first: int) -> "pa.Table":
    """Builds one row for each request and campaign, in the columns of exposures.

    Each exposure at ``first`` (int64 microseconds) or later stands for one request of its user at
    that instant. The request has every campaign to which the user was exposed by then. Coupons that
    had ended make no pair. ``exposure_id`` is the id of the request, which is one group.
    """
    start = from_microseconds(first).isoformat()
    return query(
        "WITH request AS (SELECT user_id, event_timestamp, min(exposure_id) AS exposure_id "
        f"FROM exposures WHERE event_timestamp >= TIMESTAMPTZ '{start}' GROUP BY ALL) "
        "SELECT DISTINCT 'request:' || r.exposure_id AS exposure_id, r.event_timestamp, "
        "r.event_timestamp AS created_timestamp, r.user_id, e.campaign_id "
        "FROM request r JOIN exposures e ON e.user_id = r.user_id "
        "AND greatest(e.event_timestamp, e.created_timestamp) <= r.event_timestamp ORDER BY ALL",
        exposures=exposures,
    )
