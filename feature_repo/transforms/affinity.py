"""What a user has to do with a coupon: own purchases in its scope, and the cart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from feature_repo.transforms.arithmetic import days_between, decay, numbers, ratio
from feature_repo.transforms.scope import Scope, covered

HISTORY_HALF_LIFE_DAYS = 90
KINDS = ("product", "category", "brand")


@dataclass(frozen=True)
class CartLine:
    """A line of the cart: units and the price of one unit in minor units."""

    product_id: str
    quantity: float
    unit_price: float


def affinity(
    users: Mapping[str, Sequence],
    scopes: Mapping[str, Scope],
    candidates: np.ndarray,
    as_of: np.ndarray,
) -> dict[str, np.ndarray]:
    """What each user bought of each candidate's products, categories and brands.

    ``scopes`` maps product, category and brand, in this order, to what the coupons cover. Every
    value has shape ``(users, candidates)``.
    """
    shape = (len(as_of), len(candidates))
    out: dict[str, np.ndarray] = {}
    totals = np.zeros(len(as_of))
    for kind, scope in scopes.items():
        entries = _history(users, kind, as_of)
        hits = covered(scope, candidates, entries["owner"], entries["id"])
        decayed = _cleared(partial(hits.total, shape=shape), entries["decayed"])
        if kind == "product":
            totals = _total_weight(entries["owner"], entries["decayed"], len(as_of))
            last = hits.latest(entries["last"], entries["newer"], shape)
            out["own_product_count"] = hits.distinct(entries["count"], shape)
            out["own_coupon_use_count"] = hits.total(entries["coupon_count"], shape)
            out["days_since_own_purchase"] = days_between(last, as_of[:, None])
        prefix = "own" if kind == "product" else kind
        out[f"{prefix}_purchase_count"] = hits.total(entries["count"], shape)
        out[f"{prefix}_spend"] = hits.total(entries["amount"], shape)
        out[f"{prefix}_purchase_decayed_90d"] = decayed
        out[f"{prefix}_purchase_share"] = ratio(decayed, totals[:, None])
    return out


def _total_weight(owner: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """The weight of all that each user bought."""
    return _cleared(partial(np.bincount, owner, minlength=count), weights)


def _cleared(total: Callable[[np.ndarray], np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Sums of weights; what rounding left of purchases that were taken back is 0."""
    sums = total(weights)
    if not (weights < 0).any():
        return sums
    return np.where(np.abs(sums) > 1e-9 * total(np.abs(weights)), sums, 0.0)


_HISTORY_FIELDS = ("count", "decayed", "last", "coupon_count", "amount")


def _history(users: Mapping[str, Sequence], kind: str, as_of: np.ndarray) -> dict[str, np.ndarray]:
    """A user's entries of one kind: what was known at midnight, then what came since.

    An id may stand in both parts: hits add what belongs to one id, but for the last purchase,
    which the ``newer`` entry knows alone.
    """
    parts = [
        _entries(users, f"{view}_{kind}", users[f"{view}_reference_timestamp"], as_of)
        for view in ("history", "recent")
    ]
    fields = {
        field: np.concatenate([part[field] for part in parts])
        for field in ("owner", "id", *_HISTORY_FIELDS)
    }
    old, new = (len(part["owner"]) for part in parts)
    return fields | {"newer": np.repeat([False, True], [old, new])}


def _entries(
    users: Mapping[str, Sequence], prefix: str, reference: Sequence, as_of: np.ndarray
) -> dict[str, np.ndarray]:
    lists = [() if ids is None else ids for ids in users[f"{prefix}_ids"]]
    owner = np.repeat(np.arange(len(lists)), [len(ids) for ids in lists])
    weights = _flat(users[f"{prefix}_decayed_90d"], np.float64)
    last = _flat(users[f"{prefix}_last_timestamps"], np.float64)
    age = days_between(numbers(reference), as_of)
    return {
        "owner": owner,
        "id": _flat(lists, object),
        "count": _flat(users[f"{prefix}_counts"], np.float64),
        "decayed": weights * decay(age[owner], HISTORY_HALF_LIFE_DAYS),
        "last": np.where(last > 0, last, -np.inf),
        "coupon_count": _flat(users[f"{prefix}_coupon_counts"], np.float64),
        "amount": _flat(users[f"{prefix}_amounts"], np.float64),
    }


def _flat(lists: Sequence, dtype: type) -> np.ndarray:
    parts = [np.asarray(values, dtype=dtype) for values in lists if values is not None]
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)


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
    ids = np.array([line.product_id for line in lines], dtype=object)
    quantity = np.array([line.quantity for line in lines], dtype=np.float64)
    price = np.array([line.unit_price for line in lines], dtype=np.float64)
    hits = covered(products, candidates, owner, ids)
    return {
        "cart_covered_quantity": hits.total(quantity, shape),
        "cart_covered_amount": hits.total(quantity * price, shape),
    }
