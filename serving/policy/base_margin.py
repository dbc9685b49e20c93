"""The base margin of a ranker's trees: its plain rule plus a linear part.

The trees correct the base margin. The rule alone leaves them much to learn from few labels. A
linear part learns from every input at once, and the trees learn what is not linear.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from feature_repo.names import LINEAR_ATTRIBUTE
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.policy.scores import RULES, PlainRule

_POSITIONS = {name: position for position, name in enumerate(RANKER_INPUTS)}


def logarithms(values: np.ndarray) -> np.ndarray:
    """Returns log(1 + x) of every value, in its type; an unknown (NaN) or negative one gives 0.

    >>> logarithms(np.array([np.e - 1, -3.0, np.nan])).round(9).tolist()
    [1.0, 0.0, 0.0]
    """
    known = np.fmax(values, 0)
    known += 1
    # Faster than log1p by a multiple in float32, and inputs below 1e-6 do not matter here.
    return np.asarray(np.log(known, out=known))


@dataclass(frozen=True)
class LinearPart:
    """A weighted sum of the logarithms of inputs, plus a constant.

    ``weights`` has a weight for each input that counts, by its name in RANKER_INPUTS.
    """

    weights: Mapping[str, float]
    constant: float

    def to_json(self) -> str:
        """Serializes the weights to JSON, as a model file keeps them.

        >>> part = LinearPart({"percov": 0.5}, -1.0)
        >>> LinearPart.from_json(part.to_json()) == part
        True
        """
        return json.dumps({"weights": dict(self.weights), "constant": self.constant})

    @classmethod
    def from_json(cls, text: str) -> "LinearPart":
        """Reads the text of ``to_json``.

        Raises ValueError, TypeError or KeyError for others, also for an unknown input.
        """
        raw = json.loads(text)
        weights = {str(name): float(weight) for name, weight in raw["weights"].items()}
        if unknown := sorted(weights.keys() - _POSITIONS.keys()):
            raise ValueError(f"expected weights of ranker inputs, got also {', '.join(unknown)}")
        return cls(weights, float(raw["constant"]))

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the sum of each row: float32; ``inputs`` has shape ``(n, len(RANKER_INPUTS))``.

        A row's sum does not depend on the other rows, down to its last bit.
        """
        # einsum adds up each row alone; a matrix product may add in blocks of rows.
        sums = np.einsum("ij,j->i", logarithms(inputs[:, self._columns]), self._values)
        return np.asarray(sums + np.float32(self.constant))

    def effects(self, inputs: np.ndarray) -> np.ndarray:
        """Splits the sums, less the constant, into the term of each input."""
        out = np.zeros(inputs.shape)
        out[:, self._columns] = logarithms(inputs[:, self._columns]) * self._values
        return out

    @cached_property
    def _columns(self) -> slice:
        """The columns from the first to the last input with a weight."""
        positions = [_POSITIONS[name] for name in self.weights]
        return slice(min(positions), max(positions) + 1) if positions else slice(0, 0)

    @cached_property
    def _values(self) -> np.ndarray:
        """The weights of the columns, 0 where there is none."""
        values = np.zeros(len(RANKER_INPUTS), dtype=np.float32)
        for name, weight in self.weights.items():
            values[_POSITIONS[name]] = weight
        return values[self._columns]


class Model(Protocol):
    """The part of an XGBoost booster that holds its attributes."""

    def attr(self, key: str, /) -> str | None:
        """Returns the text of an attribute; None without it."""


@dataclass(frozen=True)
class BaseMargin:
    """The score that a ranker's trees start from: the rule's margin plus the linear part, if any.

    Its methods take the whole matrix of inputs, of shape ``(n, len(RANKER_INPUTS))``.
    """

    rule: PlainRule
    linear: LinearPart | None = None

    @classmethod
    def of_model(cls, model: Model, ranker: str) -> "BaseMargin":
        """Reads the base margin of a fitted model; ``ranker`` is the key of its ranker."""
        text = model.attr(LINEAR_ATTRIBUTE)
        return cls(RULES[ranker], None if text is None else LinearPart.from_json(text))

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Computes the margin of each row: float32."""
        margin = self.rule.margin(inputs)
        if self.linear is None:
            return margin
        return margin + self.linear.scores(inputs)

    def effects(self, inputs: np.ndarray) -> np.ndarray:
        """Splits the margin into the effect of each input: float64 of shape ``inputs.shape``.

        The effects of a row and the margin of an unknown row sum to its margin.
        """
        effects = self.rule.margin_effects(inputs)
        return effects if self.linear is None else effects + self.linear.effects(inputs)
