"""The rankers that serve: the champion from the registry, or the plain rule while there is none,
and beside it the challenger if an experiment asks for one."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from feature_repo.names import RANKER_MODEL, RULE_NAME, RULE_VERSION
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from feature_repo.transforms.request.reasons import Effects
from serving.models.xgboost_scorer import Trees
from serving.policy.scores import (
    boosted_scores,
    margin_effects,
    own_spend_scores,
    rule_effects,
    rule_margin,
    trees_start,
)


class Ranker(Protocol):
    """Scores candidates; a higher score is a better one."""

    name: str
    version: str

    def score(self, inputs: np.ndarray) -> np.ndarray:
        """Scores of shape ``(n,)`` for float32 inputs of shape ``(n, len(RANKER_INPUTS))``."""

    def explain(self, inputs: np.ndarray) -> Effects:
        """What each input has in the scores of the same rows; it sums to them."""


@dataclass(frozen=True)
class RuleRanker:
    """What the user spent on the covered products, ties by purchases, then popularity."""

    name: str = RULE_NAME
    version: str = RULE_VERSION

    def score(self, inputs: np.ndarray) -> np.ndarray:
        return own_spend_scores(inputs)

    def explain(self, inputs: np.ndarray) -> Effects:
        return Effects(rule_effects(inputs), np.zeros(len(inputs)))


@dataclass(frozen=True)
class ChampionRanker:
    """A boosted ranker: the rule's margin and what the trees add to it."""

    booster: Any
    version: str
    name: str = RANKER_MODEL

    @cached_property
    def _start(self) -> float:
        return trees_start(self.booster)

    @cached_property
    def _trees(self) -> Trees:
        return Trees(self.booster, len(RANKER_INPUTS))

    def score(self, inputs: np.ndarray) -> np.ndarray:
        # XGBoost is asked for the start by way of its own check that it reads as many inputs.
        start = self._start
        return boosted_scores(self._trees(inputs), start, inputs)

    def explain(self, inputs: np.ndarray) -> Effects:
        """SHAP values of the trees (Lundberg et al. 2020), and of the margin its own terms."""
        import xgboost

        data = xgboost.DMatrix(inputs, feature_names=list(RANKER_INPUTS))
        margin = rule_margin(inputs)
        data.set_base_margin(margin)
        # The last column is what no input moves: what the trees say on average, and the margin.
        found = self.booster.predict(data, pred_contribs=True).astype(np.float64)
        return Effects(found[:, :-1] + margin_effects(inputs), found[:, -1] - margin)
