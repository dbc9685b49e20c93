"""The experiment: which users the challenger ranks for, and which requests it only watches."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from feature_repo.names import CHALLENGER, CHAMPION
from serving.errors import SettingsRefused
from serving.models.rankers import Ranker
from serving.models.slot import Models
from serving.runtime.environment import number


@dataclass(frozen=True)
class Assignment:
    """Who ranks for a request. ``arm`` is the alias that its user is ranked by.

    ``shadow`` ranks the same candidates beside it, for the log alone, if there is one.
    """

    ranker: Ranker
    arm: str = CHAMPION
    shadow: Ranker | None = None


@dataclass(frozen=True)
class Experiment:
    """Two shares from 0 to 1. Raises SettingsRefused for what cannot be.

    ``challenger_share`` of the users is ranked by the challenger, always the same ones for the same
    ``name``. Of the requests of all others, ``shadow_share`` is ranked by it in shadow.
    """

    name: str = ""
    challenger_share: float = 0.0
    shadow_share: float = 0.0

    def __post_init__(self) -> None:
        for what, share in (("users", self.challenger_share), ("requests", self.shadow_share)):
            if not 0 <= share <= 1:
                raise SettingsRefused(
                    f"Expected a share of the {what} for the challenger from 0 to 1, got "
                    f"{share:g}; 0.05 is one in twenty."
                )

    @property
    def has_challenger(self) -> bool:
        """Whether a challenger is looked for at all."""
        return self.challenger_share > 0 or self.shadow_share > 0

    def assign(self, models: Models, user_id: str, request_id: str) -> Assignment:
        """Who ranks for this user's request, of the rankers that there are."""
        challenger = models.challenger
        if challenger is None:
            return Assignment(models.champion)
        if share_of(user_id, self.name) < self.challenger_share:
            return Assignment(challenger, CHALLENGER)
        watches = share_of(request_id, self.name) < self.shadow_share
        return Assignment(models.champion, shadow=challenger if watches else None)


def share_of(name: str, salt: str) -> float:
    """A number from 0 to below 1, even over names and always the same for a name and a salt."""
    # Not the holdout's hash: who is in one must say nothing of who is in the other.
    digest = blake2b(name.encode(), digest_size=8, key=salt.encode()[:64], person=b"experiment")
    return (int.from_bytes(digest.digest(), "big") >> 11) / 2**53


def experiment_from_environment(environ: Mapping[str, str]) -> Experiment:
    """From ``CLIPWISE_EXPERIMENT``, ``CLIPWISE_CHALLENGER_SHARE`` and ``CLIPWISE_SHADOW_SHARE``.

    Raises SettingsRefused.
    """
    return Experiment(
        environ.get("CLIPWISE_EXPERIMENT", ""),
        _share(environ, "CLIPWISE_CHALLENGER_SHARE"),
        _share(environ, "CLIPWISE_SHADOW_SHARE"),
    )


def _share(environ: Mapping[str, str], name: str) -> float:
    expected = "a share from 0 to 1"
    return number(environ, name, 0.0, lambda share: 0 <= share <= 1, expected)
