"""The rankers in use, and their replacement by newer ones."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from feature_repo.names import CHALLENGER, CHAMPION, RULE_NAME
from serving.errors import ModelError
from serving.models.rankers import Ranker, RuleRanker

log = logging.getLogger(__name__)


class Registry(Protocol):
    """Where champions and challengers come from."""

    def aliases(self) -> Mapping[str, str]:
        """The version that each alias names. Raises ModelError."""

    def load(self, version: str) -> Ranker:
        """The checked and warmed ranker of a version. Raises ModelError."""


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

    def promoted(self, ranker: Ranker) -> "Models":
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
            self._models = self._models.promoted(ranker)
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
