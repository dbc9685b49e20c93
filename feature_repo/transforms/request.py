"""Request-time features: what the ranker sees of one user and one coupon at one instant.

Training calls ``ranker_inputs`` for every exposure of a campaign at once, serving for one user.
Both pass the values that Feast returned and the instant, so there is nothing that could differ
between them. Everything here is NumPy; instants are int64 microseconds since the epoch, UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.transforms.scope import Scope, covered

DAY_US = 86_400_000_000
SPEND_HALF_LIFE_DAYS = 30
HISTORY_HALF_LIFE_DAYS = 90

WINDOWS = (7, 30, 90)

_USER_NUMBERS = (
    *(
        f"{measure}_{window}d"
        for measure in (
            "purchase_count",
            "spend",
            "basket_count",
            "visit_day_count",
            "discounted_purchase_count",
            "retail_discount",
            "coupon_purchase_count",
            "coupon_discount",
            "redemption_count",
        )
        for window in WINDOWS
    ),
    "purchase_count_all",
    "redemption_count_all",
    "exposure_count_all",
    "age_min",
    "income_min",
    "household_size",
    "kids_count",
    "is_homeowner",
    "is_married",
)

_COUPON_NUMBERS = (
    "discount_value",
    "min_spend",
    "duration_days",
    "scope_product_count",
    "scope_category_count",
    "scope_brand_count",
    "scope_department_count",
    "covered_purchase_count_30d",
    "covered_purchase_count_90d",
    "covered_buyer_count_all",
    "covered_coupon_purchase_count_90d",
    "code_redemption_count_90d",
    "code_redemption_count_all",
    "code_exposure_count_all",
    "typical_discount_all",
)

_CAMPAIGN_TYPES = {
    "is_campaign_type_a": "Type A",
    "is_campaign_type_b": "Type B",
    "is_campaign_type_c": "Type C",
}

_DERIVED = (
    "is_new_user",
    "days_since_last_purchase",
    "days_since_last_coupon_purchase",
    "days_since_last_redemption",
    "spend_decayed_30d",
    "user_redemption_rate_all",
    "code_redemption_rate_all",
    "days_left",
    "own_purchase_count",
    "own_purchase_decayed_90d",
    "own_product_count",
    "own_coupon_use_count",
    "days_since_own_purchase",
    "own_purchase_share",
    "category_purchase_count",
    "category_purchase_decayed_90d",
    "category_purchase_share",
    "brand_purchase_count",
    "brand_purchase_decayed_90d",
    "brand_purchase_share",
    "cart_covered_quantity",
    "cart_covered_amount",
)

RANKER_INPUTS: tuple[str, ...] = (
    *_USER_NUMBERS,
    *_COUPON_NUMBERS,
    *_CAMPAIGN_TYPES,
    *_DERIVED,
)
"""The columns of the ranker's input matrix, in order."""

_POSITION = {name: position for position, name in enumerate(RANKER_INPUTS)}


@dataclass(frozen=True)
class Coupons:
    """Coupons as arrays: ``n`` ids, ``n`` values a column, and the three scopes over them."""

    coupon_id: np.ndarray
    numbers: Mapping[str, np.ndarray]
    valid_to: np.ndarray
    products: Scope
    categories: Scope
    brands: Scope


@dataclass(frozen=True)
class CartLine:
    """A line of the cart: units and the price of one unit in minor units."""

    product_id: str
    quantity: float
    unit_price: float


def coupons_from_columns(columns: Mapping[str, Sequence]) -> Coupons:
    """Arrange the coupon columns that Feast returned, one entry a coupon, for scoring.

    Raises KeyError if a column of the feature service is missing.
    """
    kinds = np.asarray(columns["campaign_type"], dtype=object)
    flags = {name: (kinds == kind).astype(np.float64) for name, kind in _CAMPAIGN_TYPES.items()}
    return Coupons(
        coupon_id=np.asarray(columns["coupon_id"], dtype=object),
        numbers={name: numbers(columns[name]) for name in _COUPON_NUMBERS} | flags,
        valid_to=numbers(columns["valid_to_timestamp"]),
        products=Scope.from_lists(columns["scope_product_ids"]),
        categories=Scope.from_lists(columns["scope_category_ids"]),
        brands=Scope.from_lists(columns["scope_brand_ids"]),
    )


def numbers(values: Sequence) -> np.ndarray:
    """Values as float64, with null as NaN."""
    array = np.asarray(values)
    if array.dtype == object:
        array = np.array([np.nan if value is None else value for value in array], dtype=np.float64)
    return array.astype(np.float64, copy=False)


def decay(days: np.ndarray, half_life_days: float) -> np.ndarray:
    """The factor 2 ** (-days / half_life_days)."""
    return np.exp2(-days / half_life_days)


def days_between(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Days from one instant to another; NaN where either is unknown."""
    return (later - earlier) / DAY_US


def ranker_inputs(
    users: Mapping[str, Sequence],
    coupons: Coupons,
    candidates: np.ndarray,
    as_of: np.ndarray,
    carts: Sequence[Sequence[CartLine]] | None = None,
) -> np.ndarray:
    """The input matrix of the ranker for every user and every candidate.

    ``users`` holds the user features of ``coupon_ranker_v1``, ``u`` entries a column;
    ``candidates`` the rows of ``coupons`` to score, ``c`` of them; ``as_of`` one instant a user,
    in microseconds.
    The result is float32 of shape ``(u, c, len(RANKER_INPUTS))``. Unknown values are NaN; a user
    without history has bought nothing, so the counts of own purchases are 0.
    """
    instants = np.asarray(as_of, dtype=np.float64)
    out = np.empty((len(instants), len(candidates), len(RANKER_INPUTS)), dtype=np.float32)

    def put(name: str, values: np.ndarray) -> None:
        out[:, :, _POSITION[name]] = values

    for name in _USER_NUMBERS:
        put(name, numbers(users[name])[:, None])
    for name, values in coupons.numbers.items():
        put(name, values[candidates][None, :])
    for name, values in _user_recency(users, instants).items():
        put(name, values[:, None])
    put("days_left", days_between(instants[:, None], coupons.valid_to[candidates][None, :]))
    put("code_redemption_rate_all", _rate(coupons, candidates)[None, :])
    for name, values in _affinity(users, coupons, candidates, instants).items():
        put(name, values)
    for name, values in _cart_overlap(coupons, candidates, carts, len(instants)).items():
        put(name, values)
    return out


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part of whole; 0 where the whole is nothing or unknown."""
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole > 0)


def _rate(coupons: Coupons, candidates: np.ndarray) -> np.ndarray:
    redeemed = coupons.numbers["code_redemption_count_all"][candidates]
    return _ratio(redeemed, coupons.numbers["code_exposure_count_all"][candidates])


def _user_recency(users: Mapping[str, Sequence], as_of: np.ndarray) -> dict[str, np.ndarray]:
    """Recencies in days, the spend decayed to ``as_of`` (minor units) and the redemption rate."""
    count = numbers(users["purchase_count_all"])
    reference = numbers(users["spend_decayed_reference_timestamp"])
    age = days_between(reference, as_of)
    redeemed = numbers(users["redemption_count_all"])
    return {
        "is_new_user": ~(count > 0),
        "days_since_last_purchase": days_between(numbers(users["last_purchase_timestamp"]), as_of),
        "days_since_last_coupon_purchase": days_between(
            numbers(users["last_coupon_purchase_timestamp"]), as_of
        ),
        "days_since_last_redemption": days_between(
            numbers(users["last_redemption_timestamp"]), as_of
        ),
        "spend_decayed_30d": numbers(users["spend_decayed_sum_30d"])
        * decay(age, SPEND_HALF_LIFE_DAYS),
        "user_redemption_rate_all": _ratio(redeemed, numbers(users["exposure_count_all"])),
    }


def _affinity(
    users: Mapping[str, Sequence], coupons: Coupons, candidates: np.ndarray, as_of: np.ndarray
) -> dict[str, np.ndarray]:
    """What the user bought of each candidate's products, categories and brands."""
    shape = (len(as_of), len(candidates))
    out: dict[str, np.ndarray] = {}
    totals = np.zeros(len(as_of))
    for kind, scope in (
        ("product", coupons.products),
        ("category", coupons.categories),
        ("brand", coupons.brands),
    ):
        entries = _history(users, kind, as_of)
        hits = covered(scope, candidates, entries["owner"], entries["id"])
        decayed = hits.total(entries["decayed"], shape)
        if kind == "product":
            totals = _total_weight(entries["owner"], entries["decayed"], len(as_of))
            last = hits.latest(entries["last"], shape)
            out["own_product_count"] = hits.distinct(entries["count"], shape)
            out["own_coupon_use_count"] = hits.total(entries["coupon_count"], shape)
            out["days_since_own_purchase"] = days_between(last, as_of[:, None])
        prefix = "own" if kind == "product" else kind
        out[f"{prefix}_purchase_count"] = hits.total(entries["count"], shape)
        out[f"{prefix}_purchase_decayed_90d"] = decayed
        out[f"{prefix}_purchase_share"] = _ratio(decayed, totals[:, None])
    return out


def _total_weight(owner: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """The weight of all that each user bought; what rounding left of corrected purchases is 0."""
    total = np.bincount(owner, weights, minlength=count)
    scale = np.bincount(owner, np.abs(weights), minlength=count)
    return np.where(total > 1e-9 * scale, total, 0.0)


_HISTORY_FIELDS = ("count", "decayed", "last", "coupon_count")


def _history(users: Mapping[str, Sequence], kind: str, as_of: np.ndarray) -> dict[str, np.ndarray]:
    """A user's entries of one kind: what was known at midnight, then what came since.

    An id may stand in both parts: hits add what belongs to one id.
    """
    parts = [
        _entries(users, f"{view}_{kind}", users[f"{view}_reference_timestamp"], as_of)
        for view in ("history", "recent")
    ]
    return {
        field: np.concatenate([part[field] for part in parts])
        for field in ("owner", "id", *_HISTORY_FIELDS)
    }


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
    }


def _flat(lists: Sequence, dtype: type) -> np.ndarray:
    parts = [np.asarray(values, dtype=dtype) for values in lists if values is not None]
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)


def _cart_overlap(
    coupons: Coupons,
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
    products = np.array([line.product_id for line in lines], dtype=object)
    quantity = np.array([line.quantity for line in lines], dtype=np.float64)
    price = np.array([line.unit_price for line in lines], dtype=np.float64)
    hits = covered(coupons.products, candidates, owner, products)
    return {
        "cart_covered_quantity": hits.total(quantity, shape),
        "cart_covered_amount": hits.total(quantity * price, shape),
    }
