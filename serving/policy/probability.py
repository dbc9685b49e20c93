"""Probabilities of redemption from scores: of each coupon, and of a whole list.

Pure functions on arrays. Training fits a ``Calibration``, and the service applies it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS

_LEAST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Calibration:
    """Curves from the scores of a list of candidates to probabilities of redemption at this visit.

    A ranker's scores order the candidates of one user, and say little about the user. So the list
    comes first: log(p / (1 - p)) of its probability p is ``list_intercept`` + ``list_slope`` x
    ``list_log_odds`` + the sum of ``user_weights`` x log(1 + input) over ``user_inputs``, which are
    names of RANKER_INPUTS. The log odds of the candidates in it are ``coupon_slope`` x score +
    ``coupon_intercept`` (Platt 1999).

    Then the list's hazard -log(1 - p) is divided among the candidates in proportion to their own
    hazards. ``coupon_scale`` is the number of coupons that a visit with a redemption redeems, per
    unit of hazard.
    """

    coupon_slope: float
    coupon_intercept: float
    list_slope: float
    list_intercept: float
    user_inputs: tuple[str, ...] = ()
    user_weights: tuple[float, ...] = ()
    coupon_scale: float = 1.0

    def to_json(self) -> str:
        """Serializes the curves to JSON, as a model file keeps them.

        >>> curves = Calibration(1.0, 0.5, 2.0, -1.0, ("redemption_count_all",), (0.5,))
        >>> Calibration.from_json(curves.to_json()) == curves
        True
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        """Reads the text of ``to_json``.

        Raises ValueError, TypeError or KeyError for others, also for an unknown input.
        """
        raw = dict(json.loads(text))
        names, weights = tuple(raw.pop("user_inputs")), tuple(raw.pop("user_weights"))
        if len(names) != len(weights) or not set(names) <= set(RANKER_INPUTS):
            raise ValueError(f"expected a weight for each of some ranker inputs, got {names}")
        return cls(**raw, user_inputs=names, user_weights=weights)

    def of_request(self, scores: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, float]:
        """Returns the probability of each candidate of one request, and that of any of them.

        ``inputs`` has the inputs of the same user's candidates, in any order: only those of the
        user are read. Without a candidate the latter probability is 0.

        >>> inputs = np.zeros((2, len(RANKER_INPUTS)), dtype=np.float32)
        >>> Calibration(1.0, 0.0, 1.0, 0.0).of_request(np.array([0.0, 0.0]), inputs)
        (array([0.5, 0.5]), 0.75)
        """
        if len(scores) == 0:
            return np.empty(0), 0.0
        coupons, lists = self.of_requests(scores, inputs, np.zeros(1, np.int64))
        return coupons, float(lists[0])

    def of_requests(
        self, scores: np.ndarray, inputs: np.ndarray, starts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the probability of each candidate, and that of each list.

        The candidates of a request are consecutive; ``starts`` has the first of each.
        """
        own = np.logaddexp(0.0, self.logits(scores))
        logits = self.list_slope * _log_odds(own, starts) + self.list_intercept
        if self.user_inputs:
            logits = logits + user_features(inputs[starts], self.user_inputs) @ np.array(
                self.user_weights
            )
        hazard = self.coupon_scale * np.logaddexp(0.0, logits)
        total = np.maximum(np.add.reduceat(own, starts), _LEAST)
        sizes = np.diff(np.append(starts, len(own)))
        of_coupons = -np.expm1(-own * np.repeat(hazard / total, sizes))
        return of_coupons, logistic(logits)

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Returns the log odds of each candidate before the list is known."""
        return self.coupon_slope * np.asarray(scores, np.float64) + self.coupon_intercept


def user_features(inputs: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Returns log(1 + input) of the named inputs: float64 of shape ``(n, len(names))``.

    An unknown input counts as 0.
    """
    known = np.nan_to_num(inputs[:, _columns(tuple(names))].astype(np.float64))
    return np.log1p(np.maximum(known, 0.0))


@cache
def _columns(names: tuple[str, ...]) -> np.ndarray:
    """Returns the positions of inputs; cached, as every request needs the same ones."""
    return np.array([RANKER_INPUTS.index(name) for name in names], dtype=np.int64)


def list_log_odds(logits: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns log(p / (1 - p)) of each list, with p = 1 - prod(1 - p_j) over its candidates.

    ``logits`` has log(p_j / (1 - p_j)) of every candidate, ``starts`` the first one of each list.
    No probability is formed, so the result is exact for very small and very large ones.

    >>> list_log_odds(np.array([0.0, 0.0]), np.array([0])).round(3).tolist()
    [1.099]
    """
    return _log_odds(np.logaddexp(0.0, logits), starts)


def _log_odds(hazards: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns log(p / (1 - p)) of lists whose -log(1 - p) is the sum over their candidates."""
    total = np.maximum(np.add.reduceat(hazards, starts), _LEAST)
    return total + np.log(-np.expm1(-total))


def logistic(logits: np.ndarray) -> np.ndarray:
    """Returns 1 / (1 + exp(-x)) without overflow.

    >>> logistic(np.array([-1000.0, 0.0])).tolist()
    [0.0, 0.5]
    """
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))
