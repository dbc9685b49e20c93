"""The HTTP contract of the service's status: rankers in use, readiness, clock."""

from datetime import datetime

from serving.schemas.fields import ContractModel
from serving.schemas.recommendation import ModelName


class ChallengerState(ContractModel):
    """The experiment with a challenger.

    ``model`` is the challenger, or null if there is no sound one; ``problem`` is the reason then.
    It ranks for ``challenger_share`` of the users. For the others it ranks ``shadow_share`` of the
    requests for the log only.
    """

    model: ModelName | None
    experiment: str
    challenger_share: float
    shadow_share: float
    problem: str | None


class ModelState(ContractModel):
    """The rankers in use. ``problem`` is the reason if the newest champion is not among them.

    ``previous`` is the champion before, kept loaded: it serves at once if the alias returns to it.
    ``challenger`` is present during an experiment. ``policies`` are the exploration policies by
    placement.
    """

    name: str
    version: str
    is_champion: bool
    problem: str | None
    feature_service: str
    previous: ModelName | None = None
    challenger: ChallengerState | None = None
    policies: dict[str, dict[str, str | int | float | None]] = {}


class ClockState(ContractModel):
    """The clock of the service: its current instant, which is fixed in replay."""

    now: datetime
    replay: bool


class Readiness(ContractModel):
    """The parts that answers are made from. ``notes`` are sentences on what is degraded."""

    ready: bool
    model: ModelName
    coupons: int
    clock: ClockState
    online_watermark: datetime | None
    notes: tuple[str, ...]
