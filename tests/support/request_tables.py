"""Requests of tests, in the columns of `feature_repo.sources.requests`."""

from collections.abc import Sequence

import pyarrow as pa

from feature_repo.instants import from_microseconds
from feature_repo.transforms.request.cart import CartLine

INSTANT = pa.timestamp("us", tz="UTC")


def request_table(
    rows: Sequence[tuple[str, int]],
    carts: Sequence[Sequence[CartLine]] | None = None,
    baskets: Sequence[str | None] | None = None,
) -> pa.Table:
    """Builds requests of both rankers from users and instants, ordered by instant.

    The id of a request is ``user:instant``. By default carts are empty and there are no baskets.
    """
    lines = carts or [()] * len(rows)
    at = pa.array([from_microseconds(at) for _user, at in rows], INSTANT)
    real, text = pa.list_(pa.float64()), pa.list_(pa.string())
    return pa.table(
        {
            "request_id": pa.array([f"{user}:{at}" for user, at in rows], pa.string()),
            "user_id": pa.array([user for user, _at in rows], pa.string()),
            "event_timestamp": at,
            "placement": pa.nulls(len(rows), pa.string()),
            "home": pa.array([True] * len(rows), pa.bool_()),
            "checkout": pa.array([True] * len(rows), pa.bool_()),
            "basket_id": pa.array(baskets or [None] * len(rows), pa.string()),
            "basket_timestamp": at if baskets else pa.nulls(len(rows), INSTANT),
            "cart_product_ids": pa.array([[one.product_id for one in c] for c in lines], text),
            "cart_quantities": pa.array([[one.quantity for one in c] for c in lines], real),
            "cart_unit_prices": pa.array([[one.unit_price for one in c] for c in lines], real),
        }
    )
