"""Which coupons to show: the plain rule, and the order that turns scores into a ranking.

Pure functions on arrays. Training evaluates with them exactly the policy that serves.
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
    """How often the user bought the covered products so far; ties go to the more popular scope.

    ``inputs`` has shape ``(..., len(RANKER_INPUTS))``, the result is float64 of shape ``(...)``.
    Score = own_purchase_count + p / (1 + p), with p = covered_buyer_count_all; unknown counts as 0.
    """
    _, own, popularity = _known(inputs)
    return own + _below_one(popularity)


def own_spend_scores(inputs: np.ndarray) -> np.ndarray:
    """What the user spent on the covered products so far, ties by ``own_purchases_scores``.

    Shapes as there. Score = own_spend + n / (1 + n), in minor units, with n that other score; so
    purchases without an amount still count for more than none.
    """
    spend, own, popularity = _known(inputs)
    return spend + _below_one(own + _below_one(popularity))


def rule_margin(inputs: np.ndarray) -> np.ndarray:
    """Where the ranker's trees start: log(1 + own_spend_scores / 100), float32, one value a row."""
    return np.log1p(np.maximum(own_spend_scores(inputs), 0) / MINOR_UNITS).astype(np.float32)


class Booster(Protocol):
    """A booster of XGBoost, as far as its scores need it."""

    def inplace_predict(self, data: np.ndarray, **settings: Any) -> np.ndarray: ...


def boosted_scores(said: np.ndarray, start: float, inputs: np.ndarray) -> np.ndarray:
    """The rule's margin and what the trees add to it: float32, one value a row.

    ``said`` is what the booster says of the inputs without a margin, ``start`` what ``trees_start``
    says of it. Handing the margin to XGBoost gives the same but for rounding, and takes longer.
    """
    return said - np.float32(start) + rule_margin(inputs)


def trees_start(booster: Booster) -> float:
    """What a booster starts from where it is given no margin."""
    row = np.zeros((1, len(RANKER_INPUTS)), dtype=np.float32)
    nothing = np.zeros(1, dtype=np.float32)
    found = booster.inplace_predict(row) - booster.inplace_predict(row, base_margin=nothing)
    return float(found[0])


def rule_effects(inputs: np.ndarray) -> np.ndarray:
    """What each input has in ``own_spend_scores``: float64 of shape ``inputs.shape``.

    The rule's inputs come in one after the other, the one that decides first: spend has what it
    gives alone, purchases what they add to that, and popularity the rest.
    """
    return _effects(inputs, own_spend_scores)


def margin_effects(inputs: np.ndarray) -> np.ndarray:
    """What each input has in ``rule_margin``, as in ``rule_effects``."""
    return _effects(inputs, rule_margin)


def _effects(inputs: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    effects, known = np.zeros(inputs.shape), np.zeros_like(inputs)
    before = score(known).astype(np.float64)
    for column in _READ:
        known[..., column] = inputs[..., column]
        now = score(known).astype(np.float64)
        effects[..., column], before = now - before, now
    return effects


def _known(inputs: np.ndarray) -> np.ndarray:
    """What the rule reads, in its order, float64; what is not known is 0."""
    known = np.array([inputs[..., column] for column in _READ], dtype=np.float64)
    known[np.isnan(known)] = 0.0
    return known


def _below_one(values: np.ndarray) -> np.ndarray:
    """The same order from 0 to below 1."""
    return values / (1.0 + values)
