"""The rankers in use, and their replacement when an alias of the registry changes.

Each ranker of ``names.RANKERS`` has a slot of its own: a champion, or its rule without one.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from feature_repo.names import CHALLENGER, CHAMPION, RANKERS, RankerNames
from serving.errors import ModelError
from serving.models.rankers import Ranker, RuleRanker
from serving.policy.scores import RULES

log = logging.getLogger(__name__)


class Registry(Protocol):
    """The source of one ranker's champions and challengers."""

    def aliases(self) -> Mapping[str, str]:
        """Returns the version of each alias. Raises ModelError."""

    def load(self, version: str) -> Ranker:
        """Returns the checked and warmed ranker of a version. Raises ModelError."""


@dataclass(frozen=True)
class Models:
    """An immutable set of versions of one ranker, replaced as a whole.

    ``champion`` is the rule while there is no champion. ``previous`` is the champion before it,
    kept so that a rollback needs no file of the registry. ``challenger`` is None if no experiment
    needs one, without the alias, while it fails a check, and while it is the champion.
    """

    champion: Ranker
    previous: Ranker | None = None
    challenger: Ranker | None = None

    def loaded(self, version: str) -> Ranker | None:
        """Returns the ranker of a registered version if it is in memory, else None."""
        rankers = (self.champion, self.previous, self.challenger)
        models = (one for one in rankers if not isinstance(one, RuleRanker | None))
        return next((one for one in models if one.version == version), None)

    def with_champion(self, ranker: Ranker) -> "Models":
        """Returns a copy with another champion; the present one becomes ``previous``.

        The rule never becomes ``previous``.
        """
        if ranker is self.champion:
            return self
        before = self.previous if isinstance(self.champion, RuleRanker) else self.champion
        return replace(self, champion=ranker, previous=None if before is ranker else before)


class ModelSlot:
    """Holds one ranker's versions in use and replaces them as a whole, only by checked ones.

    ``problem`` is a sentence on why the newest champion does not serve, or None.
    ``challenger_problem`` is the same for the challenger, which is loaded only with
    ``has_challenger``.
    """

    def __init__(
        self, names: RankerNames, registry: Registry, has_challenger: bool = False
    ) -> None:
        self._registry = registry
        self._rule: Ranker = RuleRanker(RULES[names.key])
        self._has_challenger = has_challenger
        self._models = Models(self._rule)
        self._refreshing = threading.Lock()
        self.problem: str | None = None
        self.challenger_problem: str | None = None

    @property
    def models(self) -> Models:
        """The rankers in use; read once per request, so that a request sees one set."""
        return self._models

    @property
    def current(self) -> Ranker:
        """The champion, or the rule while there is no champion."""
        return self._models.champion

    @property
    def has_champion(self) -> bool:
        """True if a promoted model is in use, not the rule."""
        return self.current is not self._rule

    def refresh(self) -> None:
        """Loads the versions that the aliases name; on failure keeps the present rankers.

        The reason for a failure is in ``problem``. Without the alias champion the rule serves:
        a person removed the alias. A challenger that fails a check never delays a champion.
        """
        with self._refreshing:
            try:
                aliases = self._registry.aliases()
            except ModelError as error:
                self._set_problem(str(error))
                return
            self._refresh_champion(aliases.get(CHAMPION))
            if self._has_challenger:
                self._refresh_challenger(aliases.get(CHALLENGER))

    def _refresh_champion(self, version: str | None) -> None:
        try:
            ranker = self._rule if version is None else self._ranker(version)
        except ModelError as error:
            self._set_problem(str(error))
            return
        self.problem = None
        if ranker is not self.current:
            self._models = self._models.with_champion(ranker)
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
            name, found = self.current.name, ranker and ranker.version
            log.info("the challenger beside %s is %s from now on", name, found)

    def _ranker(self, version: str) -> Ranker:
        """Returns a version from memory, where it was checked before, else from the registry."""
        return self._models.loaded(version) or self._registry.load(version)

    def _set_problem(self, problem: str) -> None:
        if problem != self.problem:
            log.warning(
                "still ranking by %s %s: %s", self.current.name, self.current.version, problem
            )
        self.problem = problem


Slots = Mapping[str, ModelSlot]
"""The slot of each ranker, by the ranker's key."""


def model_slots(registries: Mapping[str, Registry], has_challenger: bool = False) -> Slots:
    """Returns a slot for each ranker, from the sources of their versions by key."""
    return {
        key: ModelSlot(RANKERS[key], registry, has_challenger)
        for key, registry in registries.items()
    }


def refresh_all(slots: Slots) -> None:
    """Refreshes every slot. One whose registry fails keeps its rankers and delays no other."""
    for slot in slots.values():
        slot.refresh()


def in_use(slots: Slots) -> Mapping[str, Ranker]:
    """Returns the champion of each ranker, or its rule, by key."""
    return {key: slot.current for key, slot in slots.items()}
