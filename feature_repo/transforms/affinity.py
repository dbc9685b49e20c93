"""What a user has to do with a coupon: own purchases in its scope, and the cart."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from feature_repo.transforms.arithmetic import days_between, decay, numbers, ratio
from feature_repo.transforms.scope import Scope, ScopeStack, covered, hits

HISTORY_HALF_LIFE_DAYS = 90
KINDS = ("product", "category", "brand")
PREFIXES = ("own", "category", "brand")
"""What the inputs of each kind are named after."""

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
    decayed to the instant asked for, ``last`` is -inf where there is none.
    """

    layer: np.ndarray
    newer: np.ndarray
    ids: tuple[list[str], ...]
    count: np.ndarray
    weight: np.ndarray
    last: np.ndarray
    coupon_count: np.ndarray
    amount: np.ndarray


def affinity(
    users: Mapping[str, Sequence], scopes: ScopeStack, candidates: np.ndarray, as_of: np.ndarray
) -> dict[str, np.ndarray]:
    """What each user bought of each candidate's products, categories and brands.

    ``scopes`` has a layer for each of KINDS. Every value has shape ``(users, candidates)``.
    """
    entries = _entries(users, as_of)
    every = hits(scopes, candidates, entries.layer, scopes.columns(entries.ids))
    shape = (len(KINDS), len(as_of), len(candidates))
    counts, spend = (every.total(of, shape) for of in (entries.count, entries.amount))
    decayed = _without_residue(lambda of: every.total(of, shape), entries.weight)
    shares = ratio(decayed, _whole(entries, len(as_of))[None, :, None])
    out = {}
    for place, prefix in enumerate(PREFIXES):
        out[f"{prefix}_purchase_count"] = counts[place]
        out[f"{prefix}_spend"] = spend[place]
        out[f"{prefix}_purchase_decayed_90d"] = decayed[place]
        out[f"{prefix}_purchase_share"] = shares[place]
    own = every.before(len(entries.ids[0]))
    last = own.latest(entries.last, entries.newer, shape[1:])
    out["own_product_count"] = own.distinct(entries.count, entries.newer, shape[1:])
    out["own_coupon_use_count"] = own.total(entries.coupon_count, shape[1:])
    out["days_since_own_purchase"] = days_between(last, as_of[:, None])
    return out


def _entries(users: Mapping[str, Sequence], as_of: np.ndarray) -> _Entries:
    """What was known at midnight, then what came since.

    An id may stand in both parts: hits add what belongs to one id, but for the last purchase,
    which the ``newer`` entry knows alone.
    """
    user_count = len(as_of)
    names = [(f"{part}_{kind}", kind, part) for kind in KINDS for part in _PARTS]
    lists = {name: users[f"{name}_ids"] for name, _, _ in names}
    sizes = [0 if ids is None else len(ids) for of in lists.values() for ids in of]
    own = np.arange(user_count)
    layers = [KINDS.index(kind) * user_count + own for _, kind, _ in names]
    ages = [days_between(numbers(users[f"{p}_reference_timestamp"]), as_of) for p in _PARTS]
    factors = np.tile(decay(np.concatenate(ages), HISTORY_HALF_LIFE_DAYS), len(KINDS))
    newer = np.repeat([part == "recent" for _, _, part in names], user_count)
    values = {field: _flat(users[f"{n}_{field}"] for n, _, _ in names) for field in _FIELDS}
    last = values["last_timestamps"]
    return _Entries(
        layer=np.repeat(np.concatenate(layers), sizes),
        newer=np.repeat(newer, sizes),
        ids=tuple(_of_kind(kind, lists) for kind in KINDS),
        count=values["counts"],
        weight=values["decayed_90d"] * np.repeat(factors, sizes),
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


def _whole(entries: _Entries, user_count: int) -> np.ndarray:
    """The weight of all that each user bought."""
    own = slice(len(entries.ids[0]))
    layer, weight = entries.layer[own], entries.weight[own]
    return _without_residue(lambda of: np.bincount(layer, of, minlength=user_count), weight)


def _without_residue(total: Callable[[np.ndarray], np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Sums of weights; what rounding left of purchases that were taken back is 0."""
    sums = total(weights)
    if not (weights < 0).any():
        return sums
    return np.where(np.abs(sums) > 1e-9 * total(np.abs(weights)), sums, 0.0)


def cart_overlap(
    products: Scope,
    candidates: np.ndarray,
    carts: Sequence[Sequence[CartLine]] | None,
    user_count: int,
) -> dict[str, np.ndarray]:
    """Units and value (minor units) of the cart that each candidate covers; no cart: 0."""
    shape = (user_count, len(candidates))
    if carts is None or not any(carts):
        return {"cart_covered_quantity": np.zeros(shape), "cart_covered_amount": np.zeros(shape)}
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
