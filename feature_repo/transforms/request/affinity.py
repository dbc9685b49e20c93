"""What a user has to do with a coupon: own purchases in its scope, and the cart."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from feature_repo.transforms.arithmetic import days_between, decay, table
from feature_repo.transforms.request.scope import Scope, ScopeStack, covered, hits

HISTORY_HALF_LIFE_DAYS = 90
KINDS = ("product", "category", "brand")
PREFIXES = ("own", "category", "brand")
"""What the inputs of each kind are named after."""

INPUTS = (
    "own_purchase_count",
    "own_spend",
    "own_purchase_decayed_90d",
    "own_product_count",
    "own_coupon_use_count",
    "days_since_own_purchase",
    "own_purchase_share",
    *(
        f"{prefix}_{what}"
        for prefix in PREFIXES[1:]
        for what in ("purchase_count", "spend", "purchase_decayed_90d", "purchase_share")
    ),
)
"""What ``affinity`` finds, in the order in which it does."""

_AT = {name: place for place, name in enumerate(INPUTS)}

_PARTS = ("history", "recent")
_FIELDS = ("counts", "decayed_90d", "last_timestamps", "coupon_counts", "amounts")


@dataclass(frozen=True)
class CartLine:
    """A line of the cart: units and the price of one unit in minor units."""

    product_id: str
    quantity: float
    unit_price: float


@dataclass(frozen=True)
class _Entries:
    """What users bought, an entry an id: kind after kind, in each the history first.

    ``layer`` is kind x users + user; ``newer`` marks what came since midnight. ``weight`` is
    decayed to the reference of its part, ``last`` is -inf where there is none.
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
class Weight:
    """Decayed weights of purchases by part, each decayed to the reference of the user's part.

    ``sums`` has shape ``(2, ..., users, candidates)``, the history first; ``sizes`` has the sums of
    the weights' sizes, and is None where no purchase was taken back, so that none is negative.
    """

    sums: np.ndarray
    sizes: np.ndarray | None

    def at(self, factors: np.ndarray) -> np.ndarray:
        """The weights of both parts together, by factors of shape ``(2, users, 1)``.

        What rounding left of purchases that were taken back is 0.
        """
        total = _both(self.sums, factors)
        if self.sizes is None:
            return total
        return np.where(np.abs(total) > 1e-9 * _both(self.sizes, factors), total, 0.0)


@dataclass(frozen=True)
class Bought:
    """What users bought of what candidates cover, as far as time does not change it.

    ``settled`` has shape ``(users, candidates, len(INPUTS))``, float32 as the ranker reads it, and
    0 for what only an instant tells. ``weight`` has the decayed weights by kind, ``whole`` those of
    everything a user bought, with one candidate; both are decayed to the ``references`` of each
    part and user. ``last`` is the instant of the last covered purchase, NaN without one.
    """

    settled: np.ndarray
    weight: Weight
    whole: Weight
    references: np.ndarray
    last: np.ndarray


def bought(users: Mapping[str, Sequence], scopes: ScopeStack, candidates: np.ndarray) -> Bought:
    """What each user bought of each candidate's products, categories and brands.

    ``scopes`` has a layer for each of KINDS.
    """
    entries = _entries(users)
    every = hits(scopes, candidates, entries.layer, scopes.columns(entries.ids))
    pair = (len(users["history_reference_timestamp"]), len(candidates))
    shape = (len(KINDS), *pair)
    counts, spend = (every.total(of, shape) for of in (entries.count, entries.amount))
    own = every.before(len(entries.ids[0]))
    settled = np.zeros((*pair, len(INPUTS)), dtype=np.float32)
    settled[..., _AT["own_product_count"]] = own.distinct(entries.count, entries.newer, pair)
    settled[..., _AT["own_coupon_use_count"]] = own.total(entries.coupon_count, pair)
    for place, prefix in enumerate(PREFIXES):
        settled[..., _AT[f"{prefix}_purchase_count"]] = counts[place]
        settled[..., _AT[f"{prefix}_spend"]] = spend[place]
    return Bought(
        settled,
        _weight(every.entry, every.cell, entries, shape),
        _weight(slice(len(entries.ids[0])), None, entries, (pair[0], 1)),
        # A part without a reference has no entries: whatever it is multiplied with stays 0.
        np.nan_to_num(table([users[f"{part}_reference_timestamp"] for part in _PARTS])),
        own.latest(entries.last, entries.newer, pair),
    )


def affinity(bought: Bought, as_of: np.ndarray, out: np.ndarray) -> None:
    """Write what was bought, seen from an instant a user, to ``out``.

    It has shape ``(users, candidates, len(INPUTS))``.
    """
    factors = decay(days_between(bought.references, as_of), HISTORY_HALF_LIFE_DAYS)[:, :, None]
    decayed, whole = bought.weight.at(factors), bought.whole.at(factors)
    shares = np.divide(decayed, whole, out=np.zeros(decayed.shape), where=whole > 0)
    out[...] = bought.settled
    for place, prefix in enumerate(PREFIXES):
        out[..., _AT[f"{prefix}_purchase_decayed_90d"]] = decayed[place]
        out[..., _AT[f"{prefix}_purchase_share"]] = shares[place]
    out[..., _AT["days_since_own_purchase"]] = days_between(bought.last, as_of[:, None])


def _entries(users: Mapping[str, Sequence]) -> _Entries:
    """What was known at midnight, then what came since.

    An id may stand in both parts: hits add what belongs to one id, but for the last purchase,
    which the ``newer`` entry knows alone.
    """
    user_count = len(users["history_reference_timestamp"])
    names = [(f"{part}_{kind}", kind, part) for kind in KINDS for part in _PARTS]
    lists = {name: users[f"{name}_ids"] for name, _, _ in names}
    sizes = [0 if ids is None else len(ids) for of in lists.values() for ids in of]
    own = np.arange(user_count)
    layers = [KINDS.index(kind) * user_count + own for _, kind, _ in names]
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


def _of_kind(kind: str, lists: Mapping[str, Sequence]) -> list[str]:
    of = (ids for part in _PARTS for ids in lists[f"{part}_{kind}"] if ids is not None)
    return list(chain.from_iterable(of))


def _flat(columns: Iterable[Sequence]) -> np.ndarray:
    parts = [values for column in columns for values in column if values is not None]
    return np.concatenate(parts, dtype=np.float64) if parts else np.empty(0)


def _weight(
    entry: np.ndarray | slice, cell: np.ndarray | None, entries: _Entries, shape: tuple[int, ...]
) -> Weight:
    """Sums of the entries' weights by part and cell, by default the cell of the entry's layer."""
    weight, newer = entries.weight[entry], entries.newer[entry]
    cells = entries.layer[entry] if cell is None else cell
    cells = cells + newer * math.prod(shape)

    def total(of: np.ndarray) -> np.ndarray:
        return np.bincount(cells, of, minlength=2 * math.prod(shape)).reshape(2, *shape)

    return Weight(total(weight), total(np.abs(weight)) if (weight < 0).any() else None)


def _both(parts: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return parts[0] * factors[0] + parts[1] * factors[1]


def cart_overlap(
    products: Scope,
    candidates: np.ndarray,
    carts: Sequence[Sequence[CartLine]] | None,
    user_count: int,
) -> dict[str, np.ndarray | float]:
    """Units and value (minor units) of the cart that each candidate covers; no cart: 0."""
    shape = (user_count, len(candidates))
    if carts is None or not any(carts):
        return {"cart_covered_quantity": 0.0, "cart_covered_amount": 0.0}
    owner = np.repeat(np.arange(user_count), [len(cart) for cart in carts])
    lines = [line for cart in carts for line in cart]
    ids = [line.product_id for line in lines]
    quantity = np.array([line.quantity for line in lines], dtype=np.float64)
    price = np.array([line.unit_price for line in lines], dtype=np.float64)
    inside = covered(products, candidates, owner, ids)
    return {
        "cart_covered_quantity": inside.total(quantity, shape),
        "cart_covered_amount": inside.total(quantity * price, shape),
    }
