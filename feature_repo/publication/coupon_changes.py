"""The instants at which a published feature of a coupon changes."""

from typing import TYPE_CHECKING

from feature_repo.lake.duckdb_files import parquet, query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.publication.publish import published

if TYPE_CHECKING:
    import pyarrow as pa


def coupon_changes(lake: Lake, state: State) -> "pa.Table":
    """Reads each coupon and instant (coupon_id, event_timestamp) of a row in any view of coupons.

    A row is visible strictly after its instant. Between two instants no feature of the coupon
    changes, so one read serves all requests in between. Builds the views if they are missing.
    """
    files = sorted(str(path) for path in published(lake, state).glob("coupon_*.parquet"))
    # Not by one list of files: their columns differ.
    rows = (f"SELECT coupon_id, event_timestamp FROM {parquet([file])}" for file in files)
    return query(f"SELECT DISTINCT * FROM ({' UNION ALL '.join(rows)}) ORDER BY ALL")
