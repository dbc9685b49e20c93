"""Reasons for a score: reason codes over the ranker's inputs, and a short text for each.

A ranker returns the effect (SHAP value) of each input on a coupon's score. About a hundred inputs
are too many for a reader, so related inputs share one code. The effect of a code is the sum of the
effects of its inputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from feature_repo.contract import MINOR_UNITS
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS

MOST_REASONS = 3
"""Default number of reasons for one coupon."""

NEGLIGIBLE = 0.005
"""Effects of this size or less give no reason: they hardly change the order of coupons."""

OTHER = "other"
"""The code of an input without a prefix in the table. A test checks that there is none."""

_CODE_OF_PREFIX: Mapping[str, str] = {
    "own_": "own_purchases",
    "days_since_own_": "recent_purchase",
    "own_coupon_": "own_coupon_use",
    "category_": "category",
    "brand_": "brand",
    "cart_": "cart",
    "covered_": "popularity",
    "code_": "coupon_record",
    "others_": "coupon_record",
    "percov": "coupon_record",
    "campaign_redemption_rate": "coupon_record",
    "exposed_user_count": "campaign",
    "own_covered_basket_count": "recent_purchase",
    "own_campaign_redemption_count": "coupon_habit",
    "typical_discount": "discount",
    "discount_": "discount",
    "min_spend": "discount",
    "scope_": "scope",
    "days_left": "days_left",
    "days_since_start": "days_left",
    "duration_": "days_left",
    "is_campaign_": "campaign",
    "coupon_": "coupon_habit",
    "redemption_": "coupon_habit",
    "exposure_": "coupon_habit",
    "user_redemption_": "coupon_habit",
    "days_since_last_coupon_": "coupon_habit",
    "days_since_last_redemption": "coupon_habit",
    "purchase_": "shopping_habit",
    "spend_": "shopping_habit",
    "basket_": "shopping_habit",
    "visit_": "shopping_habit",
    "discounted_": "shopping_habit",
    "retail_discount_": "shopping_habit",
    "days_since_last_purchase": "shopping_habit",
    "is_new_user": "shopping_habit",
    "age_": "household",
    "income_": "household",
    "household_": "household",
    "kids_": "household",
    "is_homeowner": "household",
    "is_married": "household",
}

REASON_CODES: tuple[str, ...] = (*dict.fromkeys(_CODE_OF_PREFIX.values()), OTHER)


def code_of(name: str) -> str:
    """Returns the reason code of an input: the code of its longest prefix in the table.

    >>> code_of("own_coupon_use_count")
    'own_coupon_use'
    """
    fitting = [prefix for prefix in _CODE_OF_PREFIX if name.startswith(prefix)]
    return _CODE_OF_PREFIX[max(fitting, key=len)] if fitting else OTHER


CODES: tuple[str, ...] = tuple(code_of(name) for name in RANKER_INPUTS)
"""The code of each ranker input, in the order of ``RANKER_INPUTS``."""

_MEMBERS = np.array([[code == own for own in CODES] for code in REASON_CODES], dtype=np.float64)


@dataclass(frozen=True)
class Effects:
    """Parts of ``n`` scores: ``by_input`` (n x inputs) and ``base`` (n) add up to the scores."""

    by_input: np.ndarray
    base: np.ndarray


@dataclass(frozen=True)
class Reason:
    """A reason for one coupon's score: its code, its text, and its effect on the score."""

    code: str
    text: str
    effect: float


def effects_by_code(by_input: np.ndarray) -> np.ndarray:
    """Sums effects of inputs (n x inputs) by code: float64, n x codes, ordered as REASON_CODES."""
    return np.asarray(by_input, dtype=np.float64) @ _MEMBERS.T


def reasons(row: np.ndarray, by_input: np.ndarray, most: int = MOST_REASONS) -> tuple[Reason, ...]:
    """Returns at most ``most`` reasons of one coupon, those with the largest absolute effects.

    ``row`` holds the coupon's inputs and ``by_input`` the effect of each. Reasons that lowered the
    score are included; their texts start with "Against it".

    >>> row = np.where(np.array(RANKER_INPUTS) == "own_purchase_count", 14.0, np.nan)
    >>> by_input = np.where(np.array(RANKER_INPUTS) == "own_purchase_count", 0.5, 0.0)
    >>> reasons(row, by_input)
    (Reason(code='own_purchases', text='Bought 14 times before', effect=0.5),)
    """
    effects = effects_by_code(by_input[None, :])[0]
    values = dict(zip(RANKER_INPUTS, row.tolist(), strict=True))
    strongest = np.argsort(-np.abs(effects), kind="stable")[:most]
    return tuple(
        Reason(REASON_CODES[code], _text(REASON_CODES[code], values, effects[code]), effect)
        for code in strongest
        for effect in [float(effects[code])]
        if abs(effect) > NEGLIGIBLE
    )


def _text(code: str, values: Mapping[str, float], effect: float) -> str:
    text = _TEXTS[code](values)
    return text if effect > 0 else f"Against it: {text[0].lower()}{text[1:]}"


def _own_purchases(values: Mapping[str, float]) -> str:
    count = _counted(values["own_purchase_count"], "Never bought before", "Bought {} before")
    spent = values["own_spend"]
    return f"{count}, for {_money(spent)} in total" if spent > 0 else count


def _recent_purchase(values: Mapping[str, float]) -> str:
    days = values["days_since_own_purchase"]
    return "No earlier purchase" if _unknown(days) else f"Last bought {_ago(days)}"


def _own_coupon_use(values: Mapping[str, float]) -> str:
    never = "Never used a coupon for it"
    return _counted(values["own_coupon_use_count"], never, "Used a coupon for it {}")


def _category(values: Mapping[str, float]) -> str:
    never = "Never bought from its category"
    return _counted(values["category_purchase_count"], never, "Bought from its category {}")


def _brand(values: Mapping[str, float]) -> str:
    never = "Never bought its brand"
    return _counted(values["brand_purchase_count"], never, "Bought its brand {}")


def _cart(values: Mapping[str, float]) -> str:
    units = values["cart_covered_quantity"]
    return f"In the cart now: {units:,.6g}" if units > 0 else "Not in the cart"


def _popularity(values: Mapping[str, float]) -> str:
    buyers = values["covered_buyer_count_all"]
    if _unknown(buyers) or buyers == 0:
        return "Not bought by any shopper yet"
    return "Bought by one shopper so far" if buyers == 1 else f"Bought by {buyers:,.0f} shoppers"


def _coupon_record(values: Mapping[str, float]) -> str:
    times = values["others_redemption_count_all"]
    return _counted(times, "Not redeemed by other shoppers yet", "Redeemed {} by other shoppers")


def _discount(values: Mapping[str, float]) -> str:
    typical = values["typical_discount_all"]
    if _unknown(typical) or typical == 0:
        return "The terms of the discount"
    return f"Usually saves {_money(typical)}"


def _scope(values: Mapping[str, float]) -> str:
    count = values["scope_product_count"]
    if _unknown(count):
        return "Number of covered products unknown"
    return "Covers one product" if count == 1 else f"Covers {count:,.0f} products"


def _days_left(values: Mapping[str, float]) -> str:
    days = values["days_left"]
    if _unknown(days):
        return "End date unknown"
    if days < 0:
        return "Has ended"
    whole = int(days)
    return "Ends within a day" if whole < 1 else f"Ends in {whole} day{'s' if whole > 1 else ''}"


def _campaign(values: Mapping[str, float]) -> str:
    kinds = [name for name in values if name.startswith("is_campaign_type_") and values[name] == 1]
    return f"A type {kinds[0][-1].upper()} campaign" if kinds else "The type of the campaign"


def _coupon_habit(values: Mapping[str, float]) -> str:
    recent, ever = values["redemption_count_90d"], values["redemption_count_all"]
    if recent > 0:
        return f"Used {_number(recent, 'coupon')} in the last 90 days"
    return f"Used {_number(ever, 'coupon')} so far" if ever > 0 else "Has not used any coupon yet"


def _shopping_habit(values: Mapping[str, float]) -> str:
    if values["is_new_user"] == 1:
        return "A new shopper"
    count = values["visit_day_count_90d"]
    days = 0 if _unknown(count) else round(count)
    return f"Shopped on {days:,} of the last 90 days"


def _household(values: Mapping[str, float]) -> str:
    # Demographic values are personal data, so the text contains none.
    return "Facts about the household"


def _other(values: Mapping[str, float]) -> str:
    return "Other facts about the shopper and the coupon"


_TEXTS: Mapping[str, Callable[[Mapping[str, float]], str]] = {
    "own_purchases": _own_purchases,
    "recent_purchase": _recent_purchase,
    "own_coupon_use": _own_coupon_use,
    "category": _category,
    "brand": _brand,
    "cart": _cart,
    "popularity": _popularity,
    "coupon_record": _coupon_record,
    "discount": _discount,
    "scope": _scope,
    "days_left": _days_left,
    "campaign": _campaign,
    "coupon_habit": _coupon_habit,
    "shopping_habit": _shopping_habit,
    "household": _household,
    OTHER: _other,
}


def _unknown(value: float) -> bool:
    return value != value


def _money(minor: float) -> str:
    return f"{minor / MINOR_UNITS:,.2f}"


def _counted(count: float, never: str, often: str) -> str:
    """Returns the text for a count; ``often`` has a place for a number, as in "14 times"."""
    whole = 0 if _unknown(count) else round(count)
    if whole <= 0:
        return never
    return often.format({1: "once", 2: "twice"}.get(whole, f"{whole:,} times"))


def _ago(days: float) -> str:
    whole = max(int(days), 0)
    return {0: "less than a day ago", 1: "a day ago"}.get(whole, f"{whole:,} days ago")


def _number(count: float, noun: str) -> str:
    whole = 0 if _unknown(count) else round(count)
    return f"one {noun}" if whole == 1 else f"{whole:,} {noun}s"
