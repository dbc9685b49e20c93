"""The category and brand of every product, for the lines of a cart."""

from feature_repo.lake.duckdb_files import query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State


def product_attributes(lake: Lake, state: State) -> dict[str, tuple[str | None, str | None]]:
    """Reads the category and brand of each product that is known before the watermark.

    They are those of the first version of the product, as in the feature views: the one known
    first, and of several the one learned last.
    """
    rows = query(
        "SELECT product_id, category, brand FROM ("
        f"SELECT * FROM ({lake.scan('products', state)}) "
        f"WHERE greatest(event_timestamp, created_timestamp) < '{state.watermark.isoformat()}') "
        "QUALIFY row_number() OVER (PARTITION BY product_id ORDER BY "
        "greatest(event_timestamp, created_timestamp), created_timestamp DESC) = 1"
    )
    # Products share few pairs, and each pair is kept once: the service holds this in memory.
    pairs: dict[tuple[str | None, str | None], tuple[str | None, str | None]] = {}
    columns = (rows[name].to_pylist() for name in ("product_id", "category", "brand"))
    return {
        product: pairs.setdefault((category, brand), (category, brand))
        for product, category, brand in zip(*columns, strict=True)
    }
