"""Request-time features: what the ranker sees of one user and one coupon at one instant.

Training calls ``ranker_inputs`` for every exposure of a campaign at once, serving for one user.
Both pass the values that Feast returned and the instant, so there is nothing that could differ
between them. Everything here is NumPy; instants are int64 microseconds since the epoch, UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.transforms.arithmetic import days_between, decay, numbers, ratio, table
from feature_repo.transforms.request.affinity import (
    INPUTS,
    KINDS,
    Bought,
    CartLine,
    affinity,
    bought,
    cart_overlap,
)
from feature_repo.transforms.request.scope import Scope, ScopeStack

SPEND_HALF_LIFE_DAYS = 30

WINDOWS = (7, 30, 90)

USER_NUMBERS = (
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

COUPON_NUMBERS = (
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

_SINCE = "in days; unknown where there is none"
_THEM = "the user's purchases that count at t of products in scope_product_ids"


def _of_level(level: str) -> dict[str, str]:
    those = f"the user's purchases that count at t of a {level} in scope_{level}_ids"
    return {
        f"{level}_purchase_count": f"Number of {those}.",
        f"{level}_spend": f"Sum of amount (minor units, null as 0) over {those}.",
        f"{level}_purchase_decayed_90d": f"Sum of 2 ** (-(t - e) / 90 days) over {those}.",
        f"{level}_purchase_share": f"{level}_purchase_decayed_90d as a part of the same sum over "
        "all of the user's purchases that count at t; 0 where that is 0.",
    }


DERIVED: Mapping[str, str] = {
    **{name: f"1 if campaign_type is {kind!r}, else 0." for name, kind in _CAMPAIGN_TYPES.items()},
    "is_new_user": "1 if purchase_count_all is 0 or unknown, else 0.",
    "days_since_last_purchase": f"t - last_purchase_timestamp, {_SINCE}.",
    "days_since_last_coupon_purchase": f"t - last_coupon_purchase_timestamp, {_SINCE}.",
    "days_since_last_redemption": f"t - last_redemption_timestamp, {_SINCE}.",
    "spend_decayed_30d": "Sum of amount * 2 ** (-(t - e) / 30 days) over the user's purchases that "
    "count at t, in minor units; unknown where spend_decayed_sum_30d is.",
    "user_redemption_rate_all": "redemption_count_all / exposure_count_all; 0 without either.",
    "code_redemption_rate_all": "code_redemption_count_all / code_exposure_count_all; 0 without "
    "either.",
    "days_left": "valid_to_timestamp - t, in days, negative afterwards; unknown with valid_to.",
    "own_purchase_count": f"Number of {_THEM}.",
    "own_spend": f"Sum of amount (minor units, null as 0) over {_THEM}.",
    "own_purchase_decayed_90d": f"Sum of 2 ** (-(t - e) / 90 days) over {_THEM}.",
    "own_product_count": f"Number of distinct product_id over {_THEM}.",
    "own_coupon_use_count": f"Number of {_THEM} with coupon_discount > 0.",
    "days_since_own_purchase": f"t - the latest e over {_THEM}, {_SINCE}.",
    "own_purchase_share": "own_purchase_decayed_90d as a part of the same sum over all of the "
    "user's purchases that count at t; 0 where that is 0.",
    **_of_level("category"),
    **_of_level("brand"),
    "cart_covered_quantity": "Units in the cart of products in scope_product_ids; 0 without cart.",
    "cart_covered_amount": "Sum of quantity * unit_price (minor units) over the same lines.",
}
"""What each derived input is at an instant t; e is the event_timestamp of a purchase.

Every other input is the stored field of its name, whose view describes it. "Counts at t" is
defined in ``feature_repo/views``. A user's history keeps 1,024 ids of a kind: where there are more,
purchases of an id count that is among the heaviest 1,024 as of the last UTC midnight before t, and
what changed since then.
"""

RANKER_INPUTS: tuple[str, ...] = (
    *USER_NUMBERS,
    *COUPON_NUMBERS,
    *DERIVED,
)
"""The columns of the ranker's input matrix, in order."""

_POSITION = {name: position for position, name in enumerate(RANKER_INPUTS)}


def _block(first: str, width: int) -> slice:
    """The places of so many inputs that stand side by side."""
    return slice(_POSITION[first], _POSITION[first] + width)


_COUNTED = ("purchase", "redemption", "exposure")
_STAMPS = ("last_purchase", "last_coupon_purchase", "last_redemption", "spend_decayed_reference")
_RECENCY = (
    "is_new_user",
    "days_since_last_purchase",
    "days_since_last_coupon_purchase",
    "days_since_last_redemption",
    "spend_decayed_30d",
    "user_redemption_rate_all",
)
_RATE = "code_redemption_rate_all"

_COUPON_COLUMNS = (*COUPON_NUMBERS, *_CAMPAIGN_TYPES, _RATE)
_BESIDE = len(_COUPON_COLUMNS) - 1
"""So many of a coupon's own inputs stand side by side, in this order; the last one alone."""

_OF_USERS = _block(USER_NUMBERS[0], len(USER_NUMBERS))
_OF_COUPONS = _block(_COUPON_COLUMNS[0], _BESIDE)
_OF_RECENCY = _block(_RECENCY[0], len(_RECENCY))
_OF_AFFINITY = _block(INPUTS[0], len(INPUTS))


@dataclass(frozen=True)
class Coupons:
    """Coupons as arrays: ``n`` ids, and what they cover by kind, in the order of KINDS.

    ``inputs`` (float32, n x columns) holds the ranker inputs that are a coupon's alone.
    """

    coupon_id: np.ndarray
    inputs: np.ndarray
    valid_to: np.ndarray
    scopes: ScopeStack

    @property
    def products(self) -> Scope:
        """Which products the coupons cover."""
        return self.scopes.scopes[KINDS.index("product")]


def coupons_from_columns(columns: Mapping[str, Sequence]) -> Coupons:
    """Arrange the coupon columns that Feast returned, one entry a coupon, for scoring.

    Raises KeyError if a column of the feature service is missing.
    """
    kinds = np.asarray(columns["campaign_type"], dtype=object)
    own = {name: numbers(columns[name]) for name in COUPON_NUMBERS}
    own |= {name: kinds == kind for name, kind in _CAMPAIGN_TYPES.items()}
    redeemed, exposed = own["code_redemption_count_all"], own["code_exposure_count_all"]
    own["code_redemption_rate_all"] = ratio(redeemed, exposed)
    return Coupons(
        coupon_id=np.asarray(columns["coupon_id"], dtype=object),
        inputs=np.stack([own[name] for name in _COUPON_COLUMNS], axis=1).astype(np.float32),
        valid_to=numbers(columns["valid_to_timestamp"]),
        scopes=ScopeStack.of([Scope.from_lists(columns[f"scope_{kind}_ids"]) for kind in KINDS]),
    )


def ranker_inputs(
    users: Mapping[str, Sequence],
    coupons: Coupons,
    candidates: np.ndarray,
    as_of: np.ndarray,
    carts: Sequence[Sequence[CartLine]] | None = None,
    known: "Known | None" = None,
) -> np.ndarray:
    """The input matrix of the ranker for every user and every candidate.

    ``users`` holds the user features of ``coupon_ranker_v1``, ``u`` entries a column;
    ``candidates`` the rows of ``coupons`` to score, ``c`` of them; ``as_of`` one instant a user,
    in microseconds. ``known`` is what ``known_of`` gives for the same users and candidates, where
    it is at hand.
    The result is float32 of shape ``(u, c, len(RANKER_INPUTS))``. Unknown values are NaN; a user
    without history has bought nothing, so the counts of own purchases are 0.
    """
    instants = np.asarray(as_of, dtype=np.float64)
    out = np.empty((len(instants), len(candidates), len(RANKER_INPUTS)), dtype=np.float32)
    if known is None:
        known = known_of(users, coupons, candidates)
    coupon = coupons.inputs[candidates]
    out[..., _OF_USERS] = known.own.T[:, None]
    out[..., _OF_COUPONS] = coupon[:, :_BESIDE]
    out[..., _POSITION[_RATE]] = coupon[:, _BESIDE]
    out[..., _OF_RECENCY] = _recency(known, instants).T[:, None]
    days_left = days_between(instants[:, None], coupons.valid_to[candidates])
    out[..., _POSITION["days_left"]] = days_left
    affinity(known.bought, instants, out[..., _OF_AFFINITY])
    overlap = cart_overlap(coupons.products, candidates, carts, len(instants))
    for name, values in overlap.items():
        out[..., _POSITION[name]] = values
    return out


@dataclass(frozen=True)
class Known:
    """What users have to do with candidates, as far as time does not change it.

    ``own`` has a row of numbers for each of ``USER_NUMBERS``, ``stamps`` one of instants for each
    of ``_STAMPS``; ``spend`` is decayed to the last of these. ``recency`` has a row for each of
    ``_RECENCY``, and 0 for what only an instant tells.
    """

    own: np.ndarray
    recency: np.ndarray
    stamps: np.ndarray
    spend: np.ndarray
    bought: Bought


def known_of(users: Mapping[str, Sequence], coupons: Coupons, candidates: np.ndarray) -> Known:
    """What ``ranker_inputs`` reads of users and candidates before it looks at the clock."""
    own = table([users[name] for name in USER_NUMBERS])
    counts = (own[_POSITION[f"{name}_count_all"]] for name in _COUNTED)
    purchases, redeemed, exposed = counts
    recency = np.zeros((len(_RECENCY), own.shape[1]))
    recency[_RECENCY.index("is_new_user")] = ~(purchases > 0)
    recency[_RECENCY.index("user_redemption_rate_all")] = ratio(redeemed, exposed)
    return Known(
        own,
        recency,
        table([users[f"{name}_timestamp"] for name in _STAMPS]),
        table([users["spend_decayed_sum_30d"]])[0],
        bought(users, coupons.scopes, candidates),
    )


_DAYS = slice(_RECENCY.index("days_since_last_purchase"), _RECENCY.index("spend_decayed_30d"))


def _recency(known: Known, as_of: np.ndarray) -> np.ndarray:
    """What an instant a user makes of users: a row for each of ``_RECENCY``."""
    days, out = days_between(known.stamps, as_of), known.recency.copy()
    out[_DAYS] = days[:-1]
    out[_DAYS.stop] = known.spend * decay(days[-1], SPEND_HALF_LIFE_DAYS)
    return out
