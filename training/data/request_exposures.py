"""What a request would have ranked: the union of the campaigns that were open for a user."""

from datetime import UTC, datetime, timedelta

from feature_repo.lake.duckdb_files import query


def request_exposures(exposures, first: int):
    """One row a request and campaign, in the columns of exposures (Arrow).

    Whenever a user is exposed, at ``first`` (int64 microseconds) or later, a request stands for
    the user at that instant, with every campaign to which the user was exposed by then; coupons
    that have ended by then make no pair. ``exposure_id`` names the request: it is one group.
    """
    start = (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=first)).isoformat()
    return query(
        "WITH request AS (SELECT user_id, event_timestamp, min(exposure_id) AS exposure_id "
        f"FROM exposures WHERE event_timestamp >= TIMESTAMPTZ '{start}' GROUP BY ALL) "
        "SELECT DISTINCT 'request:' || r.exposure_id AS exposure_id, r.event_timestamp, "
        "r.event_timestamp AS created_timestamp, r.user_id, e.campaign_id "
        "FROM request r JOIN exposures e ON e.user_id = r.user_id "
        "AND greatest(e.event_timestamp, e.created_timestamp) <= r.event_timestamp ORDER BY ALL",
        exposures=exposures,
    )
