"""Inputs of the pairs of requests, in grids of users and coupons that share their features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.names import COUPON
from feature_repo.transforms.request.cart import Attributes, CartLine
from feature_repo.transforms.request.ranker_inputs import (
    RANKER_INPUTS,
    Coupons,
    coupons_from_columns,
    ranker_inputs,
    with_numbers,
)
from training.data.candidates import Candidates, Table
from training.data.dataset import Columns, Read, rows_of
from training.data.joins import codes, encode, ids
from training.data.labels import instants

_SCOPES = ("scope_product_count", "scope_category_count", "scope_brand_count")
_SCOPE_LISTS = ("scope_product_ids", "scope_category_ids", "scope_brand_ids")


@dataclass(frozen=True)
class CouponChanges:
    """The instants at which features of coupons change; a change is visible strictly after it.

    ``moments`` are all instants, ascending. ``keys`` are the changes, ascending: the coupon's row
    times (the number of moments + 1), plus the rank of the instant.
    """

    moments: np.ndarray
    keys: np.ndarray

    @classmethod
    def of(cls, changes: Table, coupon_ids: np.ndarray) -> "CouponChanges":
        """Encodes a table of ``coupon_id`` and ``event_timestamp``."""
        known = codes(coupon_ids)
        coupon, at = encode(ids(changes["coupon_id"]), known), instants(changes["event_timestamp"])
        moments, rank = np.unique(at, return_inverse=True)
        ours = coupon < len(known)
        return cls(moments, np.unique((coupon * (len(moments) + 1) + rank)[ours]))

    def version(self, coupon: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Numbers the versions of coupons' features: equal for equal features of one coupon."""
        rank = np.searchsorted(self.moments, at)
        return np.searchsorted(self.keys, coupon * (len(self.moments) + 1) + rank)

    def count_before(self, coupons: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Counts the instants before each of ``at`` at which a feature of the coupons changes."""
        coupon, rank = np.divmod(self.keys, len(self.moments) + 1)
        changed = self.moments[np.unique(rank[np.isin(coupon, coupons)])]
        return np.searchsorted(changed, at)


@dataclass(frozen=True)
class Versions:
    """The features of coupons that the pairs of a block see.

    ``of_pair`` has a row of ``numbers`` for each pair, ``scope`` a row of ``scopes`` for each row
    of ``numbers``. Coupons with the same scope at all instants of the block share a row there.
    """

    of_pair: np.ndarray
    numbers: Coupons
    scope: np.ndarray
    scopes: Coupons


def read_coupons(
    read: Read, changes: CouponChanges, coupon_ids: np.ndarray, coupon: np.ndarray, at: np.ndarray
) -> Versions:
    """Reads the features of each coupon once for each interval in which they do not change.

    ``coupon`` (row) and ``at`` have a value for each pair.
    """
    _, first, of_pair = np.unique(
        changes.version(coupon, at), return_index=True, return_inverse=True
    )
    features = read(COUPON, coupon_ids[coupon[first]].tolist(), at[first])
    sizes = [np.nan_to_num(np.asarray(features[name], float), nan=-1) for name in _SCOPES]
    # A scope only grows, so that its sizes name its version.
    _, base, scope = np.unique(
        np.stack([coupon[first], *sizes]), axis=1, return_index=True, return_inverse=True
    )
    without = {name: [None] * len(first) for name in _SCOPE_LISTS}
    numbers = coupons_from_columns(dict(features) | without)
    return Versions(of_pair, numbers, scope, coupons_from_columns(rows_of(features, base)))


def groups_of_requests(
    candidates: Candidates, changes: CouponChanges, user: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """Numbers requests with the same campaigns between the same two changes of their coupons."""
    request, group = candidates.groups_of(user, at)
    is_in = np.zeros((len(user), len(candidates.groups.size)), dtype=bool)
    is_in[request, group] = True
    before = np.zeros(len(user), dtype=np.int64)
    for one in np.unique(group):
        here = request[group == one]
        before[here] += changes.count_before(candidates.groups.coupons(one), at[here])
    # For the same campaigns the sum grows with every change, so equal sums mean equal features.
    _, campaigns = np.unique(is_in, axis=0, return_inverse=True)
    _, member = np.unique(np.stack([campaigns, before]), axis=1, return_inverse=True)
    return member


def inputs_of(
    users: Columns,
    at: np.ndarray,
    carts: Sequence[Sequence[CartLine]],
    request: np.ndarray,
    versions: Versions,
    group: np.ndarray,
    attributes: Attributes,
) -> np.ndarray:
    """Computes the inputs of pairs: float32 of shape ``(pairs, len(RANKER_INPUTS))``.

    ``users``, ``at``, ``carts`` and ``group`` have a value for each request of the block,
    ``request`` and ``versions.of_pair`` for each pair.
    """
    inputs = np.empty((len(request), len(RANKER_INPUTS)), dtype=np.float32)
    for rows in _runs_of(group[request]):
        row, user = np.unique(request[rows], return_inverse=True)
        version = versions.of_pair[rows]
        candidate, column = np.unique(versions.scope[version], return_inverse=True)
        number = np.zeros(len(versions.scopes.coupon_id), dtype=np.int64)
        number[versions.scope[version]] = version
        grid = ranker_inputs(
            rows_of(users, row),
            with_numbers(versions.scopes, versions.numbers, number),
            candidate,
            at[row],
            [carts[one] for one in row],
            attributes=attributes,
        )
        inputs[rows] = grid[user, column]
    return inputs


def _runs_of(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the positions of each distinct value."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-1))
    yield from np.split(order, starts[1:])
