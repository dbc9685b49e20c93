"""Probabilities of redemption from scores: of each coupon, and of a whole list.

Pure functions on arrays. Training fits a ``Calibration``, and the service applies it.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np

_LEAST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Calibration:
    """Two logistic curves of two parameters each (Platt 1999).

    The first one maps a coupon's score to the probability that it is redeemed at this visit. The
    second one maps ``list_log_odds`` to the probability that any coupon is redeemed at this visit.
    """

    coupon_slope: float
    coupon_intercept: float
    list_slope: float
    list_intercept: float

    def to_json(self) -> str:
        """Serializes the curves to JSON, as a model file keeps them.

        >>> curves = Calibration(1.0, 0.5, 2.0, -1.0)
        >>> Calibration.from_json(curves.to_json()) == curves
        True
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        """Reads the text of ``to_json``. Raises ValueError or TypeError for others."""
        return cls(**json.loads(text))

    def coupon_probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Returns the probability of each candidate: float64, one value for each score.

        >>> Calibration(1.0, 0.0, 1.0, 0.0).coupon_probabilities(np.array([0.0])).tolist()
        [0.5]
        """
        return logistic(self._coupon_logits(scores))

    def list_probability(self, scores: np.ndarray) -> float:
        """Returns the probability that any candidate is redeemed; 0 without a candidate.

        ``scores`` has the scores of all candidates of one request.

        >>> Calibration(1.0, 0.0, 1.0, 0.0).list_probability(np.array([0.0, 0.0]))
        0.75
        """
        if len(scores) == 0:
            return 0.0
        return float(self.list_probabilities(scores, np.zeros(1, np.int64))[0])

    def list_probabilities(self, scores: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Returns the probability of each of several requests, whose scores are consecutive.

        ``starts`` has the first position of each request.
        """
        log_odds = list_log_odds(self._coupon_logits(scores), starts)
        return logistic(self.list_slope * log_odds + self.list_intercept)

    def _coupon_logits(self, scores: np.ndarray) -> np.ndarray:
        return self.coupon_slope * np.asarray(scores, np.float64) + self.coupon_intercept


def list_log_odds(logits: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns log(p / (1 - p)) of each list, with p = 1 - prod(1 - p_j) over its candidates.

    ``logits`` has log(p_j / (1 - p_j)) of every candidate, ``starts`` the first one of each list.
    No probability is formed, so the result is exact for very small and very large ones.

    >>> list_log_odds(np.array([0.0, 0.0]), np.array([0])).round(3).tolist()
    [1.099]
    """
    # -log(1 - p) of the list is the sum over its candidates.
    total = np.maximum(np.add.reduceat(np.logaddexp(0.0, logits), starts), _LEAST)
    return total + np.log(-np.expm1(-total))


def logistic(logits: np.ndarray) -> np.ndarray:
    """Returns 1 / (1 + exp(-x)) without overflow.

    >>> logistic(np.array([-1000.0, 0.0])).tolist()
    [0.0, 0.5]
    """
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))
