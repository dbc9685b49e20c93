"""The contents of the reviewer's page, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from feature_repo.instants import from_microseconds
from feature_repo.transforms.request.reasons import Reason
from training.data.frame import RankingFrame, groups
from training.evaluation.compare import Evaluation, LeaderboardEntry, SliceComparison
from training.evaluation.fairness import Gap
from training.registry.promotion_gate import Decision
from training.registry.records import LearningRecord
from training.studies.influence import Influence

THIS_VERSION = "this version"

NOT_MEASURED = (
    "The training run of this version has no {}. To see it, train again with `clipwise train`."
)

LIMITS: tuple[str, ...] = (
    "Coupons went to selected users, not at random. So no number here shows what a coupon causes.",
    "Every coupon of a campaign counts as a candidate, even if the user did not see it.",
    "Test coupons that are open at the watermark may still be redeemed. Their present state counts "
    "here.",
    "Each group is one campaign. So this report does not show how scores compare across campaigns.",
    "Only groups with a redeemed coupon have a value. Coverage counts all groups.",
    "Equal scores are ordered by the first 8 bytes of BLAKE2b of coupon_id, as in the service.",
    "One test window is one season. The command clipwise backtest ranks every campaign with models "
    "trained on the data before it.",
    "The intervals cover chance between households, but not the differences between seasons. The "
    "more intervals you read, the more of them exclude zero by chance.",
)


@dataclass(frozen=True)
class Part:
    """Counts of one part of the data; ``start`` and ``end`` are its first and last exposure."""

    name: str
    start: datetime | None
    end: datetime | None
    groups: int
    pairs: int
    redeemed: int


@dataclass(frozen=True)
class Calibration:
    """Calibration of the scores; each bin is (probability, share redeemed, pairs)."""

    bins: Sequence[tuple[float, float, int]]
    auc: float
    average_precision: float


@dataclass(frozen=True)
class ExampleCoupon:
    """A coupon of a worked example; ``name`` lists products that it covers."""

    rank: int
    coupon_id: str
    name: str
    score: float
    redeemed: bool
    reasons: Sequence[Reason]


@dataclass(frozen=True)
class WorkedExample:
    """A real test exposure, with its highest coupons and its first redeemed one.

    ``candidates`` counts the coupons, ``purchases`` the household's purchases before the exposure.
    """

    kind: str
    user_id: str
    campaign_id: str
    when: datetime
    candidates: int
    purchases: int
    first_redeemed: int
    coupons: Sequence[ExampleCoupon]


@dataclass(frozen=True)
class Feature:
    """An input: its view, its meaning, and its weight in the model.

    ``influence`` is its share of all effects on the ranking, ``gain`` its share of the trees' gain.
    ``rising`` is True if it has a monotone constraint.
    """

    name: str
    view: str
    meaning: str
    code: str
    rising: bool
    influence: float
    gain: float


@dataclass(frozen=True)
class Report:
    """The contents of the page.

    ``facts`` describe the run, such as the lake version and the commit. ``opponent`` is the model
    that the version would replace: the champion, or the best plain rule without one. ``learning``
    is None if the run has no learning record.
    """

    title: str
    facts: Mapping[str, str]
    settings: Mapping[str, str]
    parts: Sequence[Part]
    decision: Decision
    evaluation: Evaluation
    leaderboard: Sequence[LeaderboardEntry]
    opponent: str
    slices: Sequence[SliceComparison]
    gaps: Sequence[Gap]
    calibration: Calibration
    influence: Influence
    examples: Sequence[WorkedExample]
    features: Sequence[Feature]
    learning: LearningRecord | None
    limits: Sequence[str] = LIMITS


def part(name: str, frame: RankingFrame) -> Part:
    """Counts the groups, pairs and redeemed coupons of a part of the data."""
    if len(frame) == 0:
        return Part(name, None, None, 0, 0, 0)
    first, last = (from_microseconds(one) for one in (frame.as_of.min(), frame.as_of.max()))
    return Part(name, first, last, len(groups(frame)), len(frame), int(frame.label.sum()))
