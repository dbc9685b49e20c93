"""Rankers: the boosted ranker of a registered version, and the rule without a model."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from feature_repo.names import CALIBRATION_ATTRIBUTE, RankerNames
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF
from feature_repo.transforms.request.reasons import Effects
from serving.models.xgboost_scorer import XGBoostScorer
from serving.policy.base_margin import BaseMargin
from serving.policy.probability import Calibration
from serving.policy.scores import UNKNOWN_ROW, PlainRule, base_score, boosted_scores

if TYPE_CHECKING:
    from xgboost import Booster


class Ranker(Protocol):
    """Scores candidates; the best candidate has the highest score."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def calibration(self) -> Calibration | None:
        """The curves from scores to probabilities of redemption; None without any."""

    def score(self, inputs: np.ndarray) -> np.ndarray:
        """Returns scores of shape ``(n,)`` for float32 inputs of shape ``(n, len(RANKER_INPUTS))``.

        Unknown inputs are NaN.
        """

    def explain(self, inputs: np.ndarray) -> Effects:
        """Returns the contribution of each input to each score; with the base they sum to it."""


@dataclass(frozen=True)
class RuleRanker:
    """A plain rule as a ranker. Serves while there is no champion."""

    rule: PlainRule
    calibration: Calibration | None = None

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def version(self) -> str:
        return self.rule.version

    def score(self, inputs: np.ndarray) -> np.ndarray:
        return self.rule.scores(inputs)

    def explain(self, inputs: np.ndarray) -> Effects:
        base = self.rule.scores(UNKNOWN_ROW)[0]
        return Effects(self.rule.effects(inputs), np.full(len(inputs), base))


@dataclass(frozen=True)
class ChampionRanker:
    """A boosted ranker: its base margin plus the trees. Also used for challengers.

    The trees read the first columns of the inputs: those of ``INPUTS_OF`` for this ranker.
    """

    names: RankerNames
    booster: "Booster"
    version: str

    @property
    def name(self) -> str:
        return self.names.model

    @cached_property
    def calibration(self) -> Calibration | None:
        """The curves from scores to probabilities in the model file; None without any."""
        text = self.booster.attr(CALIBRATION_ATTRIBUTE)
        return None if text is None else Calibration.from_json(text)

    @cached_property
    def _base_margin(self) -> BaseMargin:
        return BaseMargin.of_model(self.booster, self.names.key)

    @cached_property
    def _inputs(self) -> tuple[str, ...]:
        return INPUTS_OF[self.names.key]

    @cached_property
    def _width(self) -> int:
        return len(self._inputs)

    @cached_property
    def _base_score(self) -> float:
        return base_score(self.booster, self._width)

    @cached_property
    def _trees(self) -> XGBoostScorer:
        return XGBoostScorer(self.booster, self._width)

    def score(self, inputs: np.ndarray) -> np.ndarray:
        # First: reading the base score also makes XGBoost check the number of inputs.
        base = self._base_score
        trees = self._trees(inputs[:, : self._width])
        return boosted_scores(trees, base, self._base_margin(inputs))

    def explain(self, inputs: np.ndarray) -> Effects:
        """Returns SHAP values of the trees (Lundberg et al. 2020) plus the terms of the margin.

        Inputs that the trees do not read have the effect that the margin gives them.
        """
        import xgboost

        data = xgboost.DMatrix(inputs[:, : self._width], feature_names=list(self._inputs))
        margin = self._base_margin(inputs)
        data.set_base_margin(margin)
        # The last column is the bias: the mean prediction of the trees, plus the margin.
        found = self.booster.predict(data, pred_contribs=True).astype(np.float64)
        effects = self._base_margin.effects(inputs)
        effects[:, : self._width] += found[:, :-1]
        return Effects(effects, found[:, -1] - margin + self._base_margin(UNKNOWN_ROW))
