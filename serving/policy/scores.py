"""Scores of the plain rules, and their margins, to which the rankers' trees add.

Pure functions on arrays. Training evaluates with them exactly the policy that serves. Each ranker
has a rule in ``RULES``. ``own_purchases_scores`` and ``own_spend_scores`` are simpler rules that
reports compare with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from feature_repo.contract import MINOR_UNITS
from feature_repo.names import CHECKOUT, HOME
from feature_repo.transforms.request.campaign import PRIOR_BASKETS, PRIOR_REDEMPTIONS
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS

_OWN_SPEND = RANKER_INPUTS.index("own_spend")
_OWN_PURCHASES = RANKER_INPUTS.index("own_purchase_count")
_POPULARITY = RANKER_INPUTS.index("covered_buyer_count_all")
_SCOPE = RANKER_INPUTS.index("scope_product_count")
_PERCOV = RANKER_INPUTS.index("percov")
_CART_LINES = RANKER_INPUTS.index("cart_covered_line_count")
_CART_AMOUNT = RANKER_INPUTS.index("cart_covered_amount")
_READ = (_OWN_SPEND, _OWN_PURCHASES, _POPULARITY)


def own_purchases_scores(inputs: np.ndarray) -> np.ndarray:
    """Scores by the number of the user's purchases of the covered products, ties by popularity.

    ``inputs`` has shape ``(..., len(RANKER_INPUTS))``, the result is float64 of shape ``(...)``.
    Score = own_purchase_count + p / (1 + p), with p = covered_buyer_count_all. Unknown counts as 0.

    >>> inputs = np.zeros((2, len(RANKER_INPUTS)), dtype=np.float32)
    >>> inputs[:, RANKER_INPUTS.index("own_purchase_count")] = 2, 3
    >>> inputs[:, RANKER_INPUTS.index("covered_buyer_count_all")] = 3, 1
    >>> own_purchases_scores(inputs).tolist()
    [2.75, 3.5]
    """
    _, own, popularity = _rule_inputs(inputs)
    return own + _below_one(popularity)


def own_spend_scores(inputs: np.ndarray) -> np.ndarray:
    """Scores by the user's spend on the covered products, ties by ``own_purchases_scores``.

    Shapes are the same as there. Score = own_spend + n / (1 + n), in minor units, with n the other
    score. So purchases without an amount still count for more than none.

    >>> inputs = np.zeros((2, len(RANKER_INPUTS)), dtype=np.float32)
    >>> inputs[:, RANKER_INPUTS.index("own_spend")] = 0, 499
    >>> inputs[:, RANKER_INPUTS.index("own_purchase_count")] = 3, 1
    >>> own_spend_scores(inputs).tolist()
    [0.75, 499.5]
    """
    spend, own, popularity = _rule_inputs(inputs)
    return spend + _below_one(own + _below_one(popularity))


Formula = Callable[[np.ndarray], np.ndarray]
"""A function from inputs of shape ``(n, len(RANKER_INPUTS))`` to ``n`` values."""


@dataclass(frozen=True)
class PlainRule:
    """The rule of one ranker: it ranks without a champion, and the trees add to its margin.

    ``key`` is the key of the ranker. Every method takes the whole matrix of inputs, of shape
    ``(n, len(RANKER_INPUTS))``, in which NaN is unknown. ``reads`` are the columns that the
    formulas use, in order of priority. The margin is that of ``margin_formula`` less
    ``scope_weight`` x log(1 + scope_product_count): among equal scores, a coupon for few products
    is redeemed more often.
    """

    key: str
    name: str
    version: str
    reads: tuple[int, ...]
    formula: Formula
    margin_formula: Formula
    scope_weight: float = 0.0

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """Scores the candidates: float64, one value a row; higher is better."""
        return self.formula(inputs)

    def margin(self, inputs: np.ndarray) -> np.ndarray:
        """Computes the rule's part of the trees' base margin: float32, one value a row."""
        scope = np.log1p(_counted(inputs, _SCOPE))
        return (self.margin_formula(inputs) - self.scope_weight * scope).astype(np.float32)

    def effects(self, inputs: np.ndarray) -> np.ndarray:
        """Splits the scores into the effect of each input: float64 of shape ``inputs.shape``.

        The inputs are added in order of priority to a row of unknown ones. Each one gets the change
        that it makes. So the effects of a row and the score of an unknown row sum to its score.

        >>> inputs = np.zeros((1, len(RANKER_INPUTS)), dtype=np.float32)
        >>> inputs[:, RANKER_INPUTS.index("own_spend")] = 950
        >>> inputs[:, RANKER_INPUTS.index("percov")] = 0.01
        >>> effects = RULES["home"].effects(inputs)[0]
        >>> round(float(effects[RANKER_INPUTS.index("own_spend")]), 3)
        2.996
        >>> round(float(effects[RANKER_INPUTS.index("percov")]), 3)
        0.347
        """
        return _effects(inputs, self.reads, self.scores)

    def margin_effects(self, inputs: np.ndarray) -> np.ndarray:
        """Splits the margin into the effect of each input, in the order of ``effects``."""
        return _effects(inputs, (*self.reads, _SCOPE), self.margin)


UNKNOWN_ROW = np.full((1, len(RANKER_INPUTS)), np.nan, dtype=np.float32)
"""A row of inputs of which none is known."""


def home_scores(inputs: np.ndarray) -> np.ndarray:
    """Scores by own spend and by how often others redeem: float64, one value a row.

    Score = log(own_spend + 0.5) + 0.5 log(percov), with own_spend in major units. An unknown spend
    is 0, an unknown percov that of a campaign without any redemption.

    >>> inputs = np.zeros((2, len(RANKER_INPUTS)), dtype=np.float32)
    >>> inputs[:, RANKER_INPUTS.index("own_spend")] = 950, 0
    >>> inputs[:, RANKER_INPUTS.index("percov")] = 0.04, 0.25
    >>> home_scores(inputs).round(2).tolist()
    [0.69, -1.39]
    """
    spend = _counted(inputs, _OWN_SPEND) / MINOR_UNITS
    return np.log(spend + 0.5) + 0.5 * _log_percov(inputs)


COVERED_FIRST = 25.0
"""Added to the score of a coupon that covers a line of the cart, so that it ranks before others."""

COVERED_MARGIN = 8.0
"""The same in the margin, from which trees and linear part can still move a coupon behind others.

With 8 such a coupon is about as far ahead as its odds of redemption are (EXPERIMENTS.md).
"""


def checkout_scores(inputs: np.ndarray) -> np.ndarray:
    """Scores coupons that cover a line of the cart first, the others by ``home_scores``.

    Score of the former = 25 + log(cart_covered_amount + 0.01) + log(percov), with the amount in
    major units. Shapes and unknown values are those of ``home_scores``.

    >>> inputs = np.zeros((2, len(RANKER_INPUTS)), dtype=np.float32)
    >>> inputs[:, RANKER_INPUTS.index("percov")] = 0.01
    >>> inputs[0, RANKER_INPUTS.index("cart_covered_line_count")] = 1
    >>> inputs[0, RANKER_INPUTS.index("cart_covered_amount")] = 299
    >>> checkout_scores(inputs).round(2).tolist()
    [21.49, -3.0]
    """
    return _covered_first(inputs, COVERED_FIRST)


def checkout_margin(inputs: np.ndarray) -> np.ndarray:
    """Returns ``checkout_scores`` with COVERED_MARGIN in place of COVERED_FIRST."""
    return _covered_first(inputs, COVERED_MARGIN)


def _covered_first(inputs: np.ndarray, ahead: float) -> np.ndarray:
    covered = inputs[..., _CART_LINES] > 0
    scores = home_scores(inputs)
    if covered.any():
        rows = inputs[covered]
        amount = _counted(rows, _CART_AMOUNT) / MINOR_UNITS
        scores[covered] = ahead + np.log(amount + 0.01) + _log_percov(rows)
    return scores


def _log_percov(inputs: np.ndarray) -> np.ndarray:
    percov = inputs[..., _PERCOV].astype(np.float64)
    percov[np.isnan(percov)] = _PRIOR_RATE
    return np.log(np.maximum(percov, _LEAST_PERCOV))


_PRIOR_RATE = PRIOR_REDEMPTIONS / PRIOR_BASKETS
_LEAST_PERCOV = 1e-6
"""Keeps the logarithm of a row of zeros finite. The mean rate of a campaign is never 0."""


def _counted(inputs: np.ndarray, column: int) -> np.ndarray:
    """Returns a column as float64; an unknown or negative value counts as 0."""
    return np.fmax(inputs[..., column].astype(np.float64), 0.0)


RULES: Mapping[str, PlainRule] = {
    one.key: PlainRule(one.key, one.rule, one.rule_version, reads, formula, margin, scope_weight)
    for one, reads, formula, margin, scope_weight in (
        (HOME, (_OWN_SPEND, _PERCOV), home_scores, home_scores, 0.15),
        (
            CHECKOUT,
            (_CART_LINES, _CART_AMOUNT, _OWN_SPEND, _PERCOV),
            checkout_scores,
            checkout_margin,
            0.2,
        ),
    )
}
"""The rule of each ranker, by the ranker's key."""


class Booster(Protocol):
    """The part of an XGBoost booster that its scores need."""

    def inplace_predict(self, data: np.ndarray, **settings: Any) -> np.ndarray:
        """Predicts one value a row."""


def boosted_scores(raw: np.ndarray, base: float, margin: np.ndarray) -> np.ndarray:
    """Adds the trees' part of a prediction to the base margin: float32, one value a row.

    ``raw`` is the booster's prediction without base margin, ``base`` its base score. To pass the
    margin to XGBoost gives the same up to rounding, and takes longer.
    """
    return raw - np.float32(base) + margin


def base_score(booster: Booster, width: int) -> float:
    """Returns the base score of a booster with ``width`` inputs.

    That is its prediction before any tree, without a base margin.
    """
    row = np.zeros((1, width), dtype=np.float32)
    zero = np.zeros(1, dtype=np.float32)
    found = booster.inplace_predict(row) - booster.inplace_predict(row, base_margin=zero)
    return float(found[0])


def _effects(inputs: np.ndarray, columns: tuple[int, ...], formula: Formula) -> np.ndarray:
    effects, added = np.zeros(inputs.shape), np.full_like(inputs, np.nan)
    before = formula(added).astype(np.float64)
    for column in columns:
        added[..., column] = inputs[..., column]
        now = formula(added).astype(np.float64)
        effects[..., column], before = now - before, now
    return effects


def _rule_inputs(inputs: np.ndarray) -> np.ndarray:
    """Returns the inputs that the rule reads, in its order, as float64; unknown ones are 0."""
    read = np.array([inputs[..., column] for column in _READ], dtype=np.float64)
    read[np.isnan(read)] = 0.0
    return read


def _below_one(values: np.ndarray) -> np.ndarray:
    """Maps values from 0 upward to [0, 1), in the same order."""
    return values / (1.0 + values)
