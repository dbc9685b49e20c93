"""Sparse matrices of users' purchases and coupons' scopes, as known before an instant."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.instants import DAY, from_microseconds
from feature_repo.lake.duckdb_files import query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.transforms.request.affinity import HISTORY_HALF_LIFE_DAYS

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class PurchaseMatrix:
    """Purchases of ``u`` users and scopes of ``c`` coupons over ``p`` products.

    Holds only what was known strictly before an instant. ``count`` (u x p) is the number of times
    that a user bought a product. ``decayed`` is the same with a half-life of 90 days. ``scope``
    (c x p) is 1 for a product that a coupon covers. ``text`` has the name, category, department and
    brand of each product. ``users`` and ``coupons`` map ids to rows.
    """

    users: Mapping[str, int]
    coupons: Mapping[str, int]
    count: "csr_array"
    decayed: "csr_array"
    scope: "csr_array"
    text: Sequence[str]

    def for_coupons(self, coupons: Iterable[str]) -> "PurchaseMatrix":
        """Returns a copy with only these coupons; coupons without a scope are left out."""
        wanted = {one: self.coupons[one] for one in dict.fromkeys(coupons) if one in self.coupons}
        renumbered = {one: row for row, one in enumerate(wanted)}
        return replace(self, coupons=renumbered, scope=self.scope[list(wanted.values())])

    def pair_scores(
        self, users: Iterable[str], coupons: Iterable[str], scores: np.ndarray
    ) -> np.ndarray:
        """Reads a (u x c) matrix of scores at pairs of ids; an unknown id scores 0."""
        row = np.array([self.users.get(one, -1) for one in users])
        column = np.array([self.coupons.get(one, -1) for one in coupons])
        if not scores.size:
            return np.zeros(len(row))
        return np.where((row < 0) | (column < 0), 0.0, scores[row, column])


def purchases_before(
    lake: Lake, state: State, instant: int, announced_before: int | None = None
) -> PurchaseMatrix:
    """Reads the purchases that a state of the lake knew before an instant (int64 microseconds).

    Coupons and products are those announced before ``announced_before``, by default the same
    instant. A later value is no leak: a campaign is planned before it starts, and its plan contains
    no purchase.
    """
    bought_before = from_microseconds(instant)
    planned_before = from_microseconds(instant if announced_before is None else announced_before)

    def known(table: str) -> str:
        end = bought_before if table == "events" else planned_before
        return f"({lake.known_sql(table, replace(state, watermark=min(end, state.watermark)))})"

    bought = query(
        "SELECT user_id, product_id, count(*)::DOUBLE AS bought, sum(2.0 ** "
        f"(-(epoch_us(TIMESTAMPTZ '{bought_before.isoformat()}') - epoch_us(event_timestamp)) "
        f"/ {HISTORY_HALF_LIFE_DAYS * DAY}.0)) AS decayed FROM {known('events')} "
        "WHERE event_type = 'purchase' AND product_id IS NOT NULL GROUP BY ALL "
        "ORDER BY user_id, product_id"
    )
    covered = query(f"SELECT coupon_id, product_id FROM {known('coupon_products')} ORDER BY ALL")
    texts = query(
        "SELECT product_id, concat_ws(' ', name, category, department, brand) AS text "
        f"FROM {known('products')} ORDER BY product_id"
    )
    return _matrix(bought, covered, texts)


def _matrix(bought: "pa.Table", covered: "pa.Table", texts: "pa.Table") -> PurchaseMatrix:
    from scipy.sparse import csr_array

    products = _rows(texts["product_id"])
    users, coupons = _rows(bought["user_id"]), _rows(covered["coupon_id"])
    shape = (len(users), len(products))
    cells = (_positions(users, bought["user_id"]), _positions(products, bought["product_id"]))
    covering = (
        _positions(coupons, covered["coupon_id"]),
        _positions(products, covered["product_id"]),
    )
    ones = np.ones(len(covering[0]))
    return PurchaseMatrix(
        users,
        coupons,
        csr_array((bought["bought"].to_numpy(), cells), shape=shape),
        csr_array((bought["decayed"].to_numpy(), cells), shape=shape),
        csr_array((ones, covering), shape=(len(coupons), len(products))),
        texts["text"].to_pylist(),
    )


def _rows(ids: "pa.ChunkedArray") -> dict[str, int]:
    return {one: row for row, one in enumerate(dict.fromkeys(ids.to_pylist()))}


def _positions(rows: Mapping[str, int], ids: "pa.ChunkedArray") -> np.ndarray:
    return np.array([rows[one] for one in ids.to_pylist()], dtype=np.int64)
