"""Rules that keep a coupon from being shown, whatever its score.

A rule is a function of the situation that answers, for each candidate row, whether it must go.
A new rule is one function and one line in ``RULES``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from serving.candidates import CandidateIndex


@dataclass(frozen=True)
class Situation:
    """What rules may look at: the index, the instant in microseconds, and the user's redemptions.

    ``redeemed`` counts redemptions so far by coupon id.
    """

    index: CandidateIndex
    as_of: int
    redeemed: Mapping[str, float]


Rule = Callable[[Situation, np.ndarray], np.ndarray]


def expired(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The coupon can no longer be used; ``valid_to`` itself is already too late."""
    return situation.index.valid_to[rows] <= situation.as_of


def not_yet_valid(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The coupon cannot be used yet; ``valid_from`` itself is early enough."""
    return situation.index.valid_from[rows] > situation.as_of


def usage_cap(situation: Situation, rows: np.ndarray) -> np.ndarray:
    """The user has used the coupon as often as one user may."""
    counts = np.zeros(len(situation.index))
    for coupon_id, count in situation.redeemed.items():
        row = situation.index.row_of.get(coupon_id)
        if row is not None:
            counts[row] = count
    return counts[rows] >= situation.index.per_user_limit[rows]


RULES: Mapping[str, Rule] = {
    "expired": expired,
    "not_yet_valid": not_yet_valid,
    "usage_cap": usage_cap,
}


def apply_rules(
    situation: Situation, rows: np.ndarray, rules: Mapping[str, Rule] = RULES
) -> tuple[np.ndarray, dict[str, int]]:
    """The rows that every rule lets through, and how many each rule removed.

    Rules run in order; a coupon counts for the first rule that removes it, and a rule that removed
    nothing is not named.
    """
    removed: dict[str, int] = {}
    for name, rule in rules.items():
        gone = rule(situation, rows)
        if gone.any():
            removed[name] = int(gone.sum())
            rows = rows[~gone]
    return rows, removed
