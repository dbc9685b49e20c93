"""Experiments: assign users to the champion or the challenger, and requests to shadow ranking.

``serving.settings`` imports this module, so it imports no ranker: only the types, for the checker.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_repo.names import CHALLENGER, CHAMPION
from serving.errors import SettingsRefused
from serving.runtime.environment import number
from serving.runtime.shares import share_of

if TYPE_CHECKING:
    from serving.models.rankers import Ranker
    from serving.models.slot import Models

_PURPOSE = b"arm "
"""Keeps the arm of a user independent of the holdout. The key of the ranker follows it."""


@dataclass(frozen=True)
class Assignment:
    """The rankers of one request. ``arm`` is the alias of ``ranker``: champion or challenger.

    ``shadow``, if not None, ranks the same candidates for the decision log only.
    """

    ranker: "Ranker"
    arm: str = CHAMPION
    shadow: "Ranker | None" = None


@dataclass(frozen=True)
class Experiment:
    """Settings of a comparison of challenger and champion. Raises SettingsRefused.

    The challenger ranks for ``challenger_share`` of the users, the same users as long as ``name``
    stays the same. For all other users it ranks ``shadow_share`` of the requests in shadow. Both
    shares are from 0 to 1. Each ranker that has a challenger draws its own users, so that the
    comparisons of two rankers do not disturb each other.
    """

    name: str = ""
    challenger_share: float = 0.0
    shadow_share: float = 0.0

    def __post_init__(self) -> None:
        for unit, share in (("users", self.challenger_share), ("requests", self.shadow_share)):
            if not 0 <= share <= 1:
                raise SettingsRefused(
                    f"Expected a share of the {unit} for the challenger from 0 to 1, got "
                    f"{share:g}; 0.05 is one in twenty."
                )

    @property
    def has_challenger(self) -> bool:
        """True if the experiment needs a challenger."""
        return self.challenger_share > 0 or self.shadow_share > 0

    def assign(self, key: str, models: "Models", user_id: str, request_id: str) -> Assignment:
        """Returns the rankers of a user's request; without a challenger, the champion.

        ``models`` are the versions of the ranker with this ``key``.
        """
        challenger = models.challenger
        if challenger is None:
            return Assignment(models.champion)
        purpose = _PURPOSE + key.encode()
        if share_of(user_id, self.name, purpose) < self.challenger_share:
            return Assignment(challenger, CHALLENGER)
        in_shadow = share_of(request_id, self.name, purpose) < self.shadow_share
        return Assignment(models.champion, shadow=challenger if in_shadow else None)


def experiment_from_environment(environ: Mapping[str, str]) -> Experiment:
    """Reads CLIPWISE_EXPERIMENT, CLIPWISE_CHALLENGER_SHARE and CLIPWISE_SHADOW_SHARE.

    Raises SettingsRefused.
    """
    return Experiment(
        environ.get("CLIPWISE_EXPERIMENT", ""),
        _share(environ, "CLIPWISE_CHALLENGER_SHARE"),
        _share(environ, "CLIPWISE_SHADOW_SHARE"),
    )


def _share(environ: Mapping[str, str], name: str) -> float:
    expected = "a share from 0 to 1 (0.05 is one in twenty)"
    return number(environ, name, 0.0, lambda share: 0 <= share <= 1, expected)
