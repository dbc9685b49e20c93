"""The ranker that serves: the champion from the registry, or the plain rule while there is none."""

import logging
import threading
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from feature_repo.names import RANKER_MODEL, RULE_NAME, RULE_VERSION
from feature_repo.reasons import Effects
from feature_repo.transforms.request import RANKER_INPUTS
from serving.errors import ModelError
from serving.policy import margin_effects, own_spend_scores, rule_effects, rule_margin

log = logging.getLogger(__name__)


class Ranker(Protocol):
    """Scores candidates; a higher score is a better one."""

    name: str
    version: str

    def score(self, inputs: np.ndarray) -> np.ndarray:
        """Scores of shape ``(n,)`` for float32 inputs of shape ``(n, len(RANKER_INPUTS))``."""

    def explain(self, inputs: np.ndarray) -> Effects:
        """What each input has in the scores of the same rows; it sums to them."""


class Registry(Protocol):
    """Where champions come from."""

    def champion_version(self) -> str | None:
        """The version that the alias champion names, or None. Raises ModelError."""

    def load(self, version: str) -> Ranker:
        """The checked and warmed ranker of a version. Raises ModelError."""


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

    def score(self, inputs: np.ndarray) -> np.ndarray:
        return self.booster.inplace_predict(inputs, base_margin=rule_margin(inputs))

    def explain(self, inputs: np.ndarray) -> Effects:
        """SHAP values of the trees (Lundberg et al. 2020), and of the margin its own terms."""
        import xgboost

        data = xgboost.DMatrix(inputs, feature_names=list(RANKER_INPUTS))
        margin = rule_margin(inputs)
        data.set_base_margin(margin)
        # The last column is what no input moves: what the trees say on average, and the margin.
        found = self.booster.predict(data, pred_contribs=True).astype(np.float64)
        return Effects(found[:, :-1] + margin_effects(inputs), found[:, -1] - margin)


class ModelSlot:
    """Holds the ranker in use and swaps in a new champion, whole and only if it is sound.

    ``problem`` is a sentence on why the newest champion does not serve, or None.
    """

    def __init__(self, registry: Registry, rule: Ranker | None = None) -> None:
        self._registry = registry
        self._rule = rule or RuleRanker()
        self._current: Ranker = self._rule
        self._refreshing = threading.Lock()
        self.problem: str | None = None

    @property
    def current(self) -> Ranker:
        return self._current

    @property
    def has_champion(self) -> bool:
        """Whether a model that a person promoted is in use, not the rule."""
        return self._current is not self._rule

    def refresh(self) -> None:
        """Look at the alias; serve what it names, or go on with what is there and say why.

        Without an alias the rule serves: taking it away is a person's decision too.
        """
        with self._refreshing:
            try:
                ranker = self._wanted()
            except ModelError as error:
                self._complain(str(error))
                return
            self.problem = None
            if ranker is not self._current:
                self._current = ranker
                log.info("ranking by %s %s from now on", ranker.name, ranker.version)

    def _wanted(self) -> Ranker:
        version = self._registry.champion_version()
        if version is None:
            return self._rule
        if self.has_champion and self._current.version == version:
            return self._current
        return self._registry.load(version)

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("still ranking by %s: %s", self._current.version, problem)
        self.problem = problem
