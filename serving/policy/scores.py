"""Scores of the plain rules, and the base margin that the ranker's trees start from.

Pure functions on arrays. Training evaluates with them exactly the policy that serves. The plain
rules rank by a user's own purchases of the products that a coupon covers.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from feature_repo.contract import MINOR_UNITS
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS

_OWN_SPEND = RANKER_INPUTS.index("own_spend")
_OWN_PURCHASES = RANKER_INPUTS.index("own_purchase_count")
_POPULARITY = RANKER_INPUTS.index("covered_buyer_count_all")
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


def rule_margin(inputs: np.ndarray) -> np.ndarray:
    """Computes the base margin of the ranker's trees: float32, one value a row.

    Margin = log(1 + own_spend_scores / 100), never below 0.

    >>> rule_margin(np.zeros((1, len(RANKER_INPUTS)), dtype=np.float32)).tolist()
    [0.0]
    """
    return np.log1p(np.maximum(own_spend_scores(inputs), 0) / MINOR_UNITS).astype(np.float32)


class Booster(Protocol):
    """The part of an XGBoost booster that its scores need."""

    def inplace_predict(self, data: np.ndarray, **settings: Any) -> np.ndarray:
        """Predicts one value a row."""


def boosted_scores(raw: np.ndarray, base: float, inputs: np.ndarray) -> np.ndarray:
    """Adds the trees' part of a prediction to the base margin: float32, one value a row.

    ``raw`` is the booster's prediction without base margin, ``base`` its base score. To pass the
    margin to XGBoost gives the same up to rounding, and takes longer.
    """
    return raw - np.float32(base) + rule_margin(inputs)


def base_score(booster: Booster) -> float:
    """Returns a booster's base score: its prediction before any tree, without a base margin."""
    row = np.zeros((1, len(RANKER_INPUTS)), dtype=np.float32)
    zero = np.zeros(1, dtype=np.float32)
    found = booster.inplace_predict(row) - booster.inplace_predict(row, base_margin=zero)
    return float(found[0])


def rule_effects(inputs: np.ndarray) -> np.ndarray:
    """Splits ``own_spend_scores`` into the effect of each input: float64 of shape ``inputs.shape``.

    The rule's inputs are added in order of priority. Spend gets its effect alone, purchases get
    their addition to it, and popularity the rest.

    >>> inputs = np.zeros((1, len(RANKER_INPUTS)), dtype=np.float32)
    >>> inputs[:, RANKER_INPUTS.index("own_spend")] = 499
    >>> inputs[:, RANKER_INPUTS.index("own_purchase_count")] = 1
    >>> effects = rule_effects(inputs)[0]
    >>> float(effects[RANKER_INPUTS.index("own_spend")])
    499.0
    >>> float(effects[RANKER_INPUTS.index("own_purchase_count")])
    0.5
    """
    return _effects(inputs, own_spend_scores)


def margin_effects(inputs: np.ndarray) -> np.ndarray:
    """Splits ``rule_margin`` into the effect of each input, in the order of ``rule_effects``."""
    return _effects(inputs, rule_margin)


def _effects(inputs: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    effects, added = np.zeros(inputs.shape), np.zeros_like(inputs)
    before = score(added).astype(np.float64)
    for column in _READ:
        added[..., column] = inputs[..., column]
        now = score(added).astype(np.float64)
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
