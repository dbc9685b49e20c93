"""Affinity of a user to a coupon: own purchases in its scope."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from feature_repo.transforms.arithmetic import days_between, decay, table
from feature_repo.transforms.request.scope import ScopeStack, hits_of_columns

HISTORY_HALF_LIFE_DAYS = 90
"""Half-life of the weight of a purchase in a user's history."""

KINDS = ("product", "category", "brand")
PREFIXES = ("own", "category", "brand")
"""The prefix of the inputs of each kind."""

INPUTS = (
    "own_purchase_count",
    "own_spend",
    "own_purchase_decayed_90d",
    "own_product_count",
    "own_coupon_use_count",
    "days_since_own_purchase",
    "own_purchase_share",
    *(
        f"{prefix}_{measure}"
        for prefix in PREFIXES[1:]
        for measure in ("purchase_count", "spend", "purchase_decayed_90d", "purchase_share")
    ),
)
"""The inputs that ``affinity`` computes, in order."""

_AT = {name: place for place, name in enumerate(INPUTS)}

_PARTS = ("history", "recent")
_FIELDS = ("counts", "decayed_90d", "last_timestamps", "coupon_counts", "amounts")


@dataclass(frozen=True)
class _Entries:
    """Users' purchases, an entry for each id: one kind after the other, the history first.

    ``layer`` is kind * users + user. ``newer`` marks entries of purchases since midnight.
    ``weight`` is decayed to the reference instant of its part. ``last`` is -inf without a last
    purchase.
    """

    layer: np.ndarray
    newer: np.ndarray
    ids: tuple[list[str], ...]
    count: np.ndarray
    weight: np.ndarray
    last: np.ndarray
    coupon_count: np.ndarray
    amount: np.ndarray


@dataclass(frozen=True)
class PartWeights:
    """Decayed weights of purchases by part, each decayed to the reference of the user's part.

    ``sums`` has shape ``(2, ..., users, candidates)``, the history first. ``sizes`` has the sums of
    the absolute weights; None if no weight is negative, which means that no purchase was returned.
    """

    sums: np.ndarray
    sizes: np.ndarray | None

    def at(self, factors: np.ndarray) -> np.ndarray:
        """Adds the weights of both parts, multiplied by factors of shape ``(2, users, 1)``.

        A sum that is only the rounding error of returned purchases becomes 0.
        """
        total = _both(self.sums, factors)
        if self.sizes is None:
            return total
        return np.where(np.abs(total) > 1e-9 * _both(self.sizes, factors), total, 0.0)

    def take(self, places: np.ndarray) -> "PartWeights":
        """Selects candidates."""
        sizes = None if self.sizes is None else self.sizes[..., places]
        return PartWeights(self.sums[..., places], sizes)


@dataclass(frozen=True)
class OwnPurchases:
    """Users' purchases in the scopes of candidates: the values that do not depend on the instant.

    ``fixed`` has shape ``(users, candidates, len(INPUTS))`` in float32, as the ranker reads it. It
    is 0 for inputs that depend on the instant. ``weight`` has the decayed weights by kind, and
    ``whole`` those of all purchases of a user, with one candidate. Both are decayed to the
    ``references`` of each part and user. ``last`` is the instant of the last covered purchase, NaN
    without one.
    """

    fixed: np.ndarray
    weight: PartWeights
    whole: PartWeights
    references: np.ndarray
    last: np.ndarray

    def take(self, places: np.ndarray) -> "OwnPurchases":
        """Selects candidates; the values of a candidate do not depend on the others."""
        return replace(
            self,
            fixed=self.fixed[:, places],
            weight=self.weight.take(places),
            last=self.last[:, places],
        )


def own_purchases(
    users: Mapping[str, Sequence[Any]], scopes: ScopeStack, candidates: np.ndarray
) -> OwnPurchases:
    """Sums each user's purchases in each candidate's products, categories and brands.

    ``scopes`` has a layer for each of KINDS.
    """
    entries = _entries(users)
    every = hits_of_columns(scopes, candidates, entries.layer, scopes.columns(entries.ids))
    pair = (len(users["history_reference_timestamp"]), len(candidates))
    shape = (len(KINDS), *pair)
    counts, spend = every.total(entries.count, shape), every.total(entries.amount, shape)
    products = every.before(len(entries.ids[0]))
    fixed = np.zeros((*pair, len(INPUTS)), dtype=np.float32)
    fixed[..., _AT["own_product_count"]] = products.distinct(entries.count, entries.newer, pair)
    fixed[..., _AT["own_coupon_use_count"]] = products.total(entries.coupon_count, pair)
    for place, prefix in enumerate(PREFIXES):
        fixed[..., _AT[f"{prefix}_purchase_count"]] = counts[place]
        fixed[..., _AT[f"{prefix}_spend"]] = spend[place]
    return OwnPurchases(
        fixed,
        _weight(every.entry, every.cell, entries, shape),
        _weight(slice(len(entries.ids[0])), None, entries, (pair[0], 1)),
        # A part without a reference has no entries, so its weights are 0 with any factor.
        np.nan_to_num(table([users[f"{part}_reference_timestamp"] for part in _PARTS])),
        products.latest(entries.last, entries.newer, pair),
    )


def affinity(own: OwnPurchases, as_of: np.ndarray, out: np.ndarray) -> None:
    """Writes the affinity inputs as of one instant for each user to ``out``.

    ``out`` has shape ``(users, candidates, len(INPUTS))``.
    """
    factors = decay(days_between(own.references, as_of), HISTORY_HALF_LIFE_DAYS)[:, :, None]
    decayed, whole = own.weight.at(factors), own.whole.at(factors)
    shares = np.divide(decayed, whole, out=np.zeros(decayed.shape), where=whole > 0)
    out[...] = own.fixed
    for place, prefix in enumerate(PREFIXES):
        out[..., _AT[f"{prefix}_purchase_decayed_90d"]] = decayed[place]
        out[..., _AT[f"{prefix}_purchase_share"]] = shares[place]
    out[..., _AT["days_since_own_purchase"]] = days_between(own.last, as_of[:, None])


def _entries(users: Mapping[str, Sequence[Any]]) -> _Entries:
    """Lists the entries as of midnight, then the entries since midnight.

    An id can have an entry in both parts. Hits add their values. Only the last purchase is that of
    the ``newer`` entry alone.
    """
    user_count = len(users["history_reference_timestamp"])
    names = [(f"{part}_{kind}", kind, part) for kind in KINDS for part in _PARTS]
    lists = {name: users[f"{name}_ids"] for name, _, _ in names}
    sizes = [0 if ids is None else len(ids) for column in lists.values() for ids in column]
    user_rows = np.arange(user_count)
    layers = [KINDS.index(kind) * user_count + user_rows for _, kind, _ in names]
    newer = np.repeat([part == "recent" for _, _, part in names], user_count)
    values = {field: _flat(users[f"{n}_{field}"] for n, _, _ in names) for field in _FIELDS}
    last = values["last_timestamps"]
    return _Entries(
        layer=np.repeat(np.concatenate(layers), sizes),
        newer=np.repeat(newer, sizes),
        ids=tuple(_of_kind(kind, lists) for kind in KINDS),
        count=values["counts"],
        weight=values["decayed_90d"],
        last=np.where(last > 0, last, -np.inf),
        coupon_count=values["coupon_counts"],
        amount=values["amounts"],
    )


def _of_kind(kind: str, lists: Mapping[str, Sequence[Any]]) -> list[str]:
    found = (ids for part in _PARTS for ids in lists[f"{part}_{kind}"] if ids is not None)
    return list(chain.from_iterable(found))


def _flat(columns: Iterable[Sequence[Any]]) -> np.ndarray:
    parts = [values for column in columns for values in column if values is not None]
    return np.concatenate(parts, dtype=np.float64) if parts else np.empty(0)


def _weight(
    entry: np.ndarray | slice, cell: np.ndarray | None, entries: _Entries, shape: tuple[int, ...]
) -> PartWeights:
    """Sums the entries' weights by part and cell; without ``cell`` the layer is the cell."""
    weight, newer = entries.weight[entry], entries.newer[entry]
    cells = entries.layer[entry] if cell is None else cell
    cells = cells + newer * math.prod(shape)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(cells, values, minlength=2 * math.prod(shape)).reshape(2, *shape)

    return PartWeights(total(weight), total(np.abs(weight)) if (weight < 0).any() else None)


def _both(parts: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return parts[0] * factors[0] + parts[1] * factors[1]
