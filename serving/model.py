"""The rankers that serve: the champion from the registry, or the plain rule while there is none,
and beside it the challenger if an experiment asks for one."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from feature_repo.names import CHALLENGER, CHAMPION, RANKER_MODEL, RULE_NAME, RULE_VERSION
from feature_repo.reasons import Effects
from feature_repo.transforms.request import RANKER_INPUTS
from serving.errors import ModelError
from serving.policy import (
    boosted_scores,
    margin_effects,
    own_spend_scores,
    rule_effects,
    rule_margin,
    trees_start,
)
from serving.trees import Trees

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
    """Where champions and challengers come from."""

    def aliases(self) -> Mapping[str, str]:
        """The version that each alias names. Raises ModelError."""

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


@dataclass(frozen=True)
class Models:
    """The rankers of one moment. ``champion`` is the rule while there is no champion.

    ``previous`` is the champion before, which an alias set back finds in memory. ``challenger`` is
    there if it is wanted, named by its alias, sound, and not champion itself.
    """

    champion: Ranker
    previous: Ranker | None = None
    challenger: Ranker | None = None

    def kept(self, version: str) -> Ranker | None:
        """The ranker of a version of the registry, if it is one of these."""
        every = (self.champion, self.previous, self.challenger)
        named = (one for one in every if one is not None and one.name != RULE_NAME)
        return next((one for one in named if one.version == version), None)

    def crowned(self, ranker: Ranker) -> "Models":
        """The same with another champion."""
        if ranker is self.champion:
            return self
        before = self.previous if self.champion.name == RULE_NAME else self.champion
        return replace(self, champion=ranker, previous=None if before is ranker else before)


class ModelSlot:
    """Holds the rankers in use and swaps in a new one, whole and only if it is sound.

    ``problem`` is a sentence on why the newest champion does not serve, or None, and
    ``challenger_problem`` the like of the challenger, which is looked at only if ``challenges``.
    """

    def __init__(
        self, registry: Registry, rule: Ranker | None = None, challenges: bool = False
    ) -> None:
        self._registry = registry
        self._rule = rule or RuleRanker()
        self._challenges = challenges
        self._models = Models(self._rule)
        self._refreshing = threading.Lock()
        self.problem: str | None = None
        self.challenger_problem: str | None = None

    @property
    def models(self) -> Models:
        """All rankers of this moment; a swap never shows half done."""
        return self._models

    @property
    def current(self) -> Ranker:
        return self._models.champion

    @property
    def has_champion(self) -> bool:
        """Whether a model that a person promoted is in use, not the rule."""
        return self.current is not self._rule

    def refresh(self) -> None:
        """Look at the aliases; serve what they name, or go on with what is there and say why.

        Without the alias champion the rule serves: taking it away is a person's decision too. A
        challenger that is not sound is none; it never holds up a champion.
        """
        with self._refreshing:
            try:
                aliases = self._registry.aliases()
            except ModelError as error:
                self._complain(str(error))
                return
            self._refresh_champion(aliases.get(CHAMPION))
            if self._challenges:
                self._refresh_challenger(aliases.get(CHALLENGER))

    def _refresh_champion(self, version: str | None) -> None:
        try:
            ranker = self._rule if version is None else self._ranker(version)
        except ModelError as error:
            self._complain(str(error))
            return
        self.problem = None
        if ranker is not self.current:
            self._models = self._models.crowned(ranker)
            log.info("ranking by %s %s from now on", ranker.name, ranker.version)

    def _refresh_challenger(self, version: str | None) -> None:
        ranker, problem = None, None
        if version is not None and version != self.current.version:
            try:
                ranker = self._ranker(version)
            except ModelError as error:
                problem = str(error)
        if problem is not None and problem != self.challenger_problem:
            log.warning("there is no challenger: %s", problem)
        self.challenger_problem = problem
        if ranker is not self._models.challenger:
            self._models = replace(self._models, challenger=ranker)
            log.info("the challenger is %s from now on", ranker and ranker.version)

    def _ranker(self, version: str) -> Ranker:
        """A version that is in memory as it was found sound, else one from the registry."""
        return self._models.kept(version) or self._registry.load(version)

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("still ranking by %s: %s", self.current.version, problem)
        self.problem = problem
