"""Rankers: the boosted ranker of a registered version, and the rule without a model."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from feature_repo.names import RANKER_MODEL, RULE_NAME, RULE_VERSION
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from feature_repo.transforms.request.reasons import Effects
from serving.models.xgboost_scorer import XGBoostScorer
from serving.policy.scores import RULES, UNKNOWN_ROW, PlainRule, base_score, boosted_scores

if TYPE_CHECKING:
    from xgboost import Booster


class Ranker(Protocol):
    """Scores candidates; the best candidate has the highest score."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def score(self, inputs: np.ndarray) -> np.ndarray:
        """Returns scores of shape ``(n,)`` for float32 inputs of shape ``(n, len(RANKER_INPUTS))``.

        Unknown inputs are NaN.
        """

    def explain(self, inputs: np.ndarray) -> Effects:
        """Returns the contribution of each input to each score; with the base they sum to it."""


@dataclass(frozen=True)
class RuleRanker:
    """A plain rule as a ranker. Serves while there is no champion."""

    rule: PlainRule = RULES["home"]

    @property
    def name(self) -> str:
        return RULE_NAME

    @property
    def version(self) -> str:
        return RULE_VERSION

    def score(self, inputs: np.ndarray) -> np.ndarray:
        return self.rule.scores(inputs)

    def explain(self, inputs: np.ndarray) -> Effects:
        base = self.rule.scores(UNKNOWN_ROW)[0]
        return Effects(self.rule.effects(inputs), np.full(len(inputs), base))


@dataclass(frozen=True)
class ChampionRanker:
    """A boosted ranker: the rule's margin plus the trees. Also used for challengers."""

    booster: "Booster"
    version: str
    name: str = RANKER_MODEL

    @cached_property
    def _base_score(self) -> float:
        return base_score(self.booster, len(RANKER_INPUTS))

    @cached_property
    def _trees(self) -> XGBoostScorer:
        return XGBoostScorer(self.booster, len(RANKER_INPUTS))

    def score(self, inputs: np.ndarray) -> np.ndarray:
        # First: reading the base score also makes XGBoost check the number of inputs.
        base = self._base_score
        return boosted_scores(self._trees(inputs), base, RULES["home"].margin(inputs))

    def explain(self, inputs: np.ndarray) -> Effects:
        """Returns SHAP values of the trees (Lundberg et al. 2020) plus the terms of the margin."""
        import xgboost

        data = xgboost.DMatrix(inputs, feature_names=list(RANKER_INPUTS))
        rule = RULES["home"]
        margin = rule.margin(inputs)
        data.set_base_margin(margin)
        # The last column is the bias: the mean prediction of the trees, plus the margin.
        found = self.booster.predict(data, pred_contribs=True).astype(np.float64)
        return Effects(
            found[:, :-1] + rule.margin_effects(inputs),
            found[:, -1] - margin + rule.margin(UNKNOWN_ROW),
        )
