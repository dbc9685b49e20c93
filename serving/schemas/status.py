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


class RankerState(ContractModel):
    """The ranker of some placements: the champion, or the plain rule without one.

    ``problem`` is the reason if the newest champion does not serve. ``previous`` is the champion
    before, kept loaded: it serves at once if the alias returns to it. ``challenger`` is present
    during an experiment.
    """

    name: str
    version: str
    is_champion: bool
    placements: tuple[str, ...]
    problem: str | None
    feature_service: str
    previous: ModelName | None = None
    challenger: ChallengerState | None = None


class ModelState(ContractModel):
    """The rankers in use: ``home`` and ``checkout``.

    ``policies`` are the exploration policies by placement.
    """

    rankers: dict[str, RankerState]
    policies: dict[str, dict[str, str | int | float | None]] = {}


class ClockState(ContractModel):
    """The clock of the service: its current instant, which is fixed in replay."""

    now: datetime
    replay: bool


class Readiness(ContractModel):
    """The parts that answers are made from. ``notes`` are sentences on what is degraded.

    ``models`` has the model that each ranker serves: ``home`` and ``checkout``.
    """

    ready: bool
    models: dict[str, ModelName]
    coupons: int
    clock: ClockState
    online_watermark: datetime | None
    notes: tuple[str, ...]
