"""What the service says of itself: the rankers in use, and whether it is ready."""

from datetime import datetime

from serving.schemas.fields import Closed
from serving.schemas.recommendation import ModelName


class ChallengerState(Closed):
    """The experiment. ``model`` is the challenger if there is a sound one, ``problem`` why not.

    ``challenger_share`` of the users is ranked by it, ``shadow_share`` of the others' requests only
    for the log.
    """

    model: ModelName | None
    experiment: str
    challenger_share: float
    shadow_share: float
    problem: str | None


class ModelState(Closed):
    """The rankers in use. ``problem`` says why the newest champion is not among them.

    ``previous`` is the champion before, which serves again at once if the alias goes back to it.
    ``challenger`` is there if there is an experiment. ``policies`` says by placement how scores
    become a list.
    """

    name: str
    version: str
    is_champion: bool
    problem: str | None
    feature_service: str
    previous: ModelName | None = None
    challenger: ChallengerState | None = None
    policies: dict[str, dict[str, str | int | float | None]] = {}


class ClockState(Closed):
    """What the service takes for now, and whether it stands still there."""

    now: datetime
    replay: bool


class Readiness(Closed):
    """What the service answers with. ``notes`` are sentences on what is not as it should be."""

    ready: bool
    model: ModelName
    coupons: int
    clock: ClockState
    online_watermark: datetime | None
    notes: tuple[str, ...]
