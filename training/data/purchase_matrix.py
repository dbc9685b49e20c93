"""What users had bought and coupons covered at an instant, as sparse matrices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.lake.duckdb_files import query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State

if TYPE_CHECKING:
    from scipy.sparse import csr_array

HALF_LIFE_DAYS = 90


@dataclass(frozen=True)
class PurchaseMatrix:
    """``u`` users, ``p`` products and ``c`` coupons as they were known strictly before an instant.

    ``count`` (u x p) holds how often a user bought a product, ``decayed`` the same with a half-life
    of 90 days, ``scope`` (c x p) 1 for a product that a coupon covers, ``text`` what is written of
    each product. ``users`` and ``coupons`` map ids to rows.
    """

    users: Mapping[str, int]
    coupons: Mapping[str, int]
    count: "csr_array"
    decayed: "csr_array"
    scope: "csr_array"
    text: Sequence[str]

    def of_coupons(self, coupons: Sequence[str]) -> "PurchaseMatrix":
        """The same for these coupons alone; one without a scope is left out."""
        wanted = {one: self.coupons[one] for one in dict.fromkeys(coupons) if one in self.coupons}
        renumbered = {one: row for row, one in enumerate(wanted)}
        return replace(self, coupons=renumbered, scope=self.scope[list(wanted.values())])

    def pairs(self, users: Sequence[str], coupons: Sequence[str], scores: np.ndarray) -> np.ndarray:
        """The entries of a (u x c) matrix of scores for pairs of ids; 0 for one not known."""
        row = np.array([self.users.get(one, -1) for one in users])
        column = np.array([self.coupons.get(one, -1) for one in coupons])
        if not scores.size:
            return np.zeros(len(row))
        return np.where((row < 0) | (column < 0), 0.0, scores[row, column])


def purchases_before(
    lake: Lake, state: State, start: int, announced: int | None = None
) -> PurchaseMatrix:
    """What a state of the lake says was known before an instant (int64 microseconds).

    Coupons and products are those that were announced before ``announced``, by default the same
    instant: a later campaign is no part of what was bought, and is planned before it starts.
    """
    at, planned = (_instant(one) for one in (start, start if announced is None else announced))

    def known(table: str) -> str:
        upto = at if table == "events" else planned
        return f"({lake.known_sql(table, replace(state, watermark=min(upto, state.watermark)))})"

    bought = query(
        "SELECT user_id, product_id, count(*)::DOUBLE AS bought, sum(2.0 ** "
        f"(-(epoch_us(TIMESTAMPTZ '{at.isoformat()}') - epoch_us(event_timestamp)) "
        f"/ {HALF_LIFE_DAYS * 86_400_000_000}.0)) AS decayed FROM {known('events')} "
        "WHERE event_type = 'purchase' AND product_id IS NOT NULL GROUP BY ALL "
        "ORDER BY user_id, product_id"
    )
    covered = query(f"SELECT coupon_id, product_id FROM {known('coupon_products')} ORDER BY ALL")
    texts = query(
        "SELECT product_id, concat_ws(' ', name, category, department, brand) AS text "
        f"FROM {known('products')} ORDER BY product_id"
    )
    return _arranged(bought, covered, texts)


def _instant(microseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


def _arranged(bought, covered, texts) -> PurchaseMatrix:
    from scipy.sparse import csr_array

    products = _rows(texts["product_id"])
    users, coupons = _rows(bought["user_id"]), _rows(covered["coupon_id"])
    shape = (len(users), len(products))
    place = (_places(users, bought["user_id"]), _places(products, bought["product_id"]))
    within = (_places(coupons, covered["coupon_id"]), _places(products, covered["product_id"]))
    ones = np.ones(len(within[0]))
    return PurchaseMatrix(
        users,
        coupons,
        csr_array((bought["bought"].to_numpy(), place), shape=shape),
        csr_array((bought["decayed"].to_numpy(), place), shape=shape),
        csr_array((ones, within), shape=(len(coupons), len(products))),
        texts["text"].to_pylist(),
    )


def _rows(ids) -> dict[str, int]:
    return {one: row for row, one in enumerate(dict.fromkeys(ids.to_pylist()))}


def _places(rows: Mapping[str, int], ids) -> np.ndarray:
    return np.array([rows[one] for one in ids.to_pylist()], dtype=np.int64)
