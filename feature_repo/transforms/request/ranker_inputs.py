"""The ranker's inputs for users and coupons, as of an instant for each user.

Training calls ``ranker_inputs`` for all exposures of a campaign at once, serving for one user.
Both pass the values that Feast returned and the instant, so both get the same inputs. Instants are
int64 microseconds since the epoch, UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from feature_repo.transforms.arithmetic import days_between, decay, numbers, ratio, table
from feature_repo.transforms.request.affinity import (
    INPUTS,
    KINDS,
    OwnPurchases,
    affinity,
    own_purchases,
)
from feature_repo.transforms.request.campaign import DERIVED as CAMPAIGN_DERIVED
from feature_repo.transforms.request.campaign import INPUTS as CAMPAIGN_INPUTS
from feature_repo.transforms.request.campaign import campaign_inputs, stored_counts
from feature_repo.transforms.request.cart import DERIVED as CART_DERIVED
from feature_repo.transforms.request.cart import INPUTS as CART_INPUTS
from feature_repo.transforms.request.cart import NO_ATTRIBUTES, Attributes, CartLine, cart_inputs
from feature_repo.transforms.request.scope import Scope, ScopeStack

SPEND_HALF_LIFE_DAYS = 30
"""Half-life of the weight of a purchase in the decayed spend."""

WINDOWS = (7, 30, 90)
"""Lengths of the windows of counts and sums, in days."""

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
    "exposed_user_count",
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
_OWN = "the user's purchases that count at t of products in scope_product_ids"


def _of_level(level: str) -> dict[str, str]:
    purchases = f"the user's purchases that count at t of a {level} in scope_{level}_ids"
    return {
        f"{level}_purchase_count": f"Number of {purchases}.",
        f"{level}_spend": f"Sum of amount (minor units, null as 0) over {purchases}.",
        f"{level}_purchase_decayed_90d": f"Sum of 2 ** (-(t - e) / 90 days) over {purchases}.",
        f"{level}_purchase_share": f"{level}_purchase_decayed_90d divided by the same sum over "
        "all of the user's purchases that count at t; 0 where that sum is 0.",
    }


DERIVED: Mapping[str, str] = {
    **{name: f"1 if campaign_type is {kind!r}, else 0." for name, kind in _CAMPAIGN_TYPES.items()},
    "is_new_user": "1 if purchase_count_all is 0 or unknown, else 0.",
    "days_since_last_purchase": f"t - last_purchase_timestamp, {_SINCE}.",
    "days_since_last_coupon_purchase": f"t - last_coupon_purchase_timestamp, {_SINCE}.",
    "days_since_last_redemption": f"t - last_redemption_timestamp, {_SINCE}.",
    "spend_decayed_30d": "Sum of amount * 2 ** (-(t - e) / 30 days) over the user's purchases that "
    "count at t, in minor units; unknown where spend_decayed_sum_30d is.",
    "user_redemption_rate_all": "redemption_count_all / exposure_count_all; 0 if one is 0 or "
    "unknown.",
    "code_redemption_rate_all": "code_redemption_count_all / code_exposure_count_all; 0 if one is "
    "0 or unknown.",
    "days_left": "valid_to_timestamp - t, in days, negative after the end; unknown where "
    "valid_to_timestamp is.",
    "days_since_start": "t - valid_from_timestamp, in days, negative before the start; unknown "
    "where valid_from_timestamp is.",
    "own_purchase_count": f"Number of {_OWN}.",
    "own_spend": f"Sum of amount (minor units, null as 0) over {_OWN}.",
    "own_purchase_decayed_90d": f"Sum of 2 ** (-(t - e) / 90 days) over {_OWN}.",
    "own_product_count": f"Number of distinct product_id over {_OWN}.",
    "own_coupon_use_count": f"Number of {_OWN} with coupon_discount > 0.",
    "days_since_own_purchase": f"t - the latest e over {_OWN}, {_SINCE}.",
    "own_purchase_share": "own_purchase_decayed_90d divided by the same sum over all of the "
    "user's purchases that count at t; 0 where that sum is 0.",
    **_of_level("category"),
    **_of_level("brand"),
    **CAMPAIGN_DERIVED,
    **CART_DERIVED,
}
"""The definition of each derived input at an instant t; e is the event_timestamp of a purchase.

Every other input is the stored field of the same name, described in its view. "Counts at t" is
defined in ``feature_repo/views``. A user's history keeps 1,024 ids of a kind. If there are more,
purchases count only for the 1,024 heaviest ids as of the last UTC midnight before t. Changes since
that midnight count for all ids.
"""

RANKER_INPUTS: tuple[str, ...] = (
    *USER_NUMBERS,
    *COUPON_NUMBERS,
    *DERIVED,
)
"""The columns of the input matrix, in order. Those of the cart are last."""

INPUTS_OF: Mapping[str, tuple[str, ...]] = {
    "home": RANKER_INPUTS[: -len(CART_INPUTS)],
    "checkout": RANKER_INPUTS,
}
"""The inputs of each ranker of ``names.RANKERS``: the first columns of the same matrix."""

_POSITION = {name: position for position, name in enumerate(RANKER_INPUTS)}


def _block(first: str, width: int) -> slice:
    """Returns the columns of ``width`` contiguous inputs from the one named ``first``."""
    return slice(_POSITION[first], _POSITION[first] + width)


_COUNTED = ("purchase", "redemption", "exposure")
_INSTANTS = ("last_purchase", "last_coupon_purchase", "last_redemption", "spend_decayed_reference")
_RECENCY = (
    "is_new_user",
    "days_since_last_purchase",
    "days_since_last_coupon_purchase",
    "days_since_last_redemption",
    "spend_decayed_30d",
    "user_redemption_rate_all",
)
_RATE = "code_redemption_rate_all"

INPUTS_OF_USER: frozenset[str] = frozenset((*USER_NUMBERS, *_RECENCY, "cart_amount"))
"""The inputs that are the same for all candidates of a request."""

_COUPON_COLUMNS = (*COUPON_NUMBERS, *_CAMPAIGN_TYPES, _RATE)
_ADJACENT = len(_COUPON_COLUMNS) - 1
"""Number of a coupon's own inputs that are contiguous in this order; the last one is apart."""

_OF_USERS = _block(USER_NUMBERS[0], len(USER_NUMBERS))
_OF_COUPONS = _block(_COUPON_COLUMNS[0], _ADJACENT)
_OF_RECENCY = _block(_RECENCY[0], len(_RECENCY))
_OF_AFFINITY = _block(INPUTS[0], len(INPUTS))
_OF_CAMPAIGN = _block(CAMPAIGN_INPUTS[0], len(CAMPAIGN_INPUTS))
_OF_CART = _block(CART_INPUTS[0], len(CART_INPUTS))


@dataclass(frozen=True)
class Coupons:
    """Coupons as arrays: ``n`` ids, and their scopes by kind, in the order of KINDS.

    ``inputs`` (float32, n x columns) holds the ranker inputs that depend on the coupon alone.
    ``counts`` holds the ``stored_counts`` of the campaign so far. ``ids`` has the id of each
    coupon, ``campaigns`` that of its campaign. ``valid_from`` and ``valid_to`` are in microseconds,
    NaN if unknown.
    """

    coupon_id: np.ndarray
    inputs: np.ndarray
    counts: np.ndarray
    ids: Scope
    campaigns: Scope
    valid_from: np.ndarray
    valid_to: np.ndarray
    scopes: ScopeStack

    @property
    def products(self) -> Scope:
        """The scopes of products."""
        return self.scopes.scopes[KINDS.index("product")]


def coupons_from_columns(columns: Mapping[str, Sequence[Any]]) -> Coupons:
    """Builds the arrays from the coupon columns that Feast returned, one value for each coupon.

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
        counts=stored_counts(columns),
        ids=Scope.from_lists([[one] for one in columns["coupon_id"]]),
        campaigns=Scope.from_lists([one and [one] for one in columns["campaign_id"]]),
        valid_from=numbers(columns["valid_from_timestamp"]),
        valid_to=numbers(columns["valid_to_timestamp"]),
        scopes=ScopeStack.from_scopes(
            [Scope.from_lists(columns[f"scope_{kind}_ids"]) for kind in KINDS]
        ),
    )


def with_numbers(coupons: Coupons, other: Coupons, rows: np.ndarray) -> Coupons:
    """Returns the coupons with the numbers that ``other`` has in ``rows``, one for each coupon.

    The scopes stay: they change rarely, and building them takes longer than all the rest.
    """
    return replace(
        coupons,
        inputs=other.inputs[rows],
        counts=other.counts[rows],
        valid_from=other.valid_from[rows],
        valid_to=other.valid_to[rows],
    )


def ranker_inputs(
    users: Mapping[str, Sequence[Any]],
    coupons: Coupons,
    candidates: np.ndarray,
    as_of: np.ndarray,
    carts: Sequence[Sequence[CartLine]] | None = None,
    static: "StaticInputs | None" = None,
    attributes: Attributes = NO_ATTRIBUTES,
) -> np.ndarray:
    """Computes the ranker's input matrix for each user and each candidate.

    ``users`` holds the user features of the rankers' feature services, ``u`` values in a column.
    ``candidates`` holds the ``c`` rows of ``coupons`` to score. ``as_of`` holds one instant for
    each user, in microseconds. ``static`` is the result of ``static_inputs`` for the same users and
    candidates; by default it is computed here. ``attributes`` has the category and brand of the
    products in ``carts``.

    Returns float32 of shape ``(u, c, len(RANKER_INPUTS))``. Unknown values are NaN. A user without
    history has no purchases, so the counts of own purchases are 0.
    """
    instants = np.asarray(as_of, dtype=np.float64)
    out = np.empty((len(instants), len(candidates), len(RANKER_INPUTS)), dtype=np.float32)
    if static is None:
        static = static_inputs(users, coupons, candidates)
    coupon = coupons.inputs[candidates]
    out[..., _OF_USERS] = static.user.T[:, None]
    out[..., _OF_COUPONS] = coupon[:, :_ADJACENT]
    out[..., _POSITION[_RATE]] = coupon[:, _ADJACENT]
    out[..., _OF_RECENCY] = _recency(static, instants).T[:, None]
    days_left = days_between(instants[:, None], coupons.valid_to[candidates])
    out[..., _POSITION["days_left"]] = days_left
    started = days_between(coupons.valid_from[candidates], instants[:, None])
    out[..., _POSITION["days_since_start"]] = started
    affinity(static.purchases, instants, out[..., _OF_AFFINITY])
    out[..., _OF_CAMPAIGN] = static.campaign
    cart_inputs(coupons.scopes, candidates, carts, attributes, out[..., _OF_CART])
    return out


@dataclass(frozen=True)
class StaticInputs:
    """The part of the inputs of users and candidates that does not depend on the instant.

    ``user`` has a row for each of ``USER_NUMBERS``. ``instants`` has a row for each of
    ``_INSTANTS``, and ``spend`` is decayed to the last of them. ``recency`` has a row for each of
    ``_RECENCY``, which is 0 if the input depends on the instant. ``campaign`` is float32 of shape
    ``(users, candidates, len(CAMPAIGN_INPUTS))``.
    """

    user: np.ndarray
    recency: np.ndarray
    instants: np.ndarray
    spend: np.ndarray
    purchases: OwnPurchases
    campaign: np.ndarray

    def take(self, places: np.ndarray) -> "StaticInputs":
        """Selects candidates, by their places among those of this object."""
        return replace(
            self, purchases=self.purchases.take(places), campaign=self.campaign[:, places]
        )


def static_inputs(
    users: Mapping[str, Sequence[Any]], coupons: Coupons, candidates: np.ndarray
) -> StaticInputs:
    """Computes the part of ``ranker_inputs`` that does not depend on the instant.

    A caller may cache it while users, coupons and candidates are unchanged.
    """
    own = table([users[name] for name in USER_NUMBERS])
    counts = (own[_POSITION[f"{name}_count_all"]] for name in _COUNTED)
    purchases, redeemed, exposed = counts
    recency = np.zeros((len(_RECENCY), own.shape[1]))
    recency[_RECENCY.index("is_new_user")] = ~(purchases > 0)
    recency[_RECENCY.index("user_redemption_rate_all")] = ratio(redeemed, exposed)
    return StaticInputs(
        own,
        recency,
        table([users[f"{name}_timestamp"] for name in _INSTANTS]),
        table([users["spend_decayed_sum_30d"]])[0],
        own_purchases(users, coupons.scopes, candidates),
        campaign_inputs(users, coupons.counts, coupons.ids, coupons.campaigns, candidates),
    )


_DAYS = slice(_RECENCY.index("days_since_last_purchase"), _RECENCY.index("spend_decayed_30d"))


def _recency(static: StaticInputs, as_of: np.ndarray) -> np.ndarray:
    """Computes a row for each of ``_RECENCY`` as of one instant for each user."""
    days, out = days_between(static.instants, as_of), static.recency.copy()
    out[_DAYS] = days[:-1]
    out[_DAYS.stop] = static.spend * decay(days[-1], SPEND_HALF_LIFE_DAYS)
    return out
