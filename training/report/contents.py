"""What the reviewer's page shows, as plain data: whoever writes the page gathers it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from feature_repo.transforms.request.reasons import Reason
from training.data.frame import RankingFrame, groups
from training.evaluation.compare import Evaluation, LeaderboardEntry, SliceComparison
from training.evaluation.fairness import Gap
from training.registry.promotion_gate import Decision
from training.registry.records import LearningRecord
from training.studies.influence import Influence

LIMITS: tuple[str, ...] = (
    "Coupons went to chosen users, not at random: no figure says what a coupon causes.",
    "Every coupon of the campaign counts as a candidate, also one that the user did not see.",
    "Test coupons still open at the watermark may yet be redeemed; here they count as they stand.",
    "Groups are one campaign each; whether scores compare across campaigns is not measured here.",
    "Only groups with a redeemed coupon have a value; coverage counts all groups.",
    "Equal scores are ordered by the first 8 bytes of BLAKE2b of coupon_id, as the service does.",
    "One test window is one season: clipwise backtest ranks every campaign, each by what was "
    "known before it.",
    "The intervals know chance among households, not that another season may differ, and the more "
    "of them are read, the more lie beside zero by chance.",
)


@dataclass(frozen=True)
class Part:
    """What a part of the data holds; ``start`` and ``end`` are its first and last exposure."""

    name: str
    start: datetime | None
    end: datetime | None
    groups: int
    pairs: int
    redeemed: int


@dataclass(frozen=True)
class Calibration:
    """How often pairs of alike scores were redeemed: (probability, share redeemed, pairs) a bin."""

    bins: Sequence[tuple[float, float, int]]
    auc: float
    average_precision: float


@dataclass(frozen=True)
class ExampleCoupon:
    """A coupon of a worked example; ``name`` says what it covers in words."""

    rank: int
    coupon_id: str
    name: str
    score: float
    redeemed: bool
    reasons: Sequence[Reason]


@dataclass(frozen=True)
class WorkedExample:
    """A real test exposure: who, when, and the coupons that came first or were redeemed."""

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
    """An input: where it comes from, what it is, and what the model makes of it.

    ``influence`` is its part in what moves the ranking, ``gain`` its part of the trees' gain.
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
    """What the page shows. ``facts`` are lines on the run, such as the lake version and commit.

    ``opponent`` is what the version would replace: the champion, or the best plain rule.
    ``learning`` is None for a version whose run kept nothing of it.
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
    """Count what a part of the data holds."""
    if len(frame) == 0:
        return Part(name, None, None, 0, 0, 0)
    first, last = at(frame.as_of.min()), at(frame.as_of.max())
    return Part(name, first, last, len(groups(frame)), len(frame), int(frame.label.sum()))


def at(microseconds: int) -> datetime:
    """An instant of the frame (int64 microseconds) as a time in UTC."""
    return datetime.fromtimestamp(int(microseconds) / 1e6, UTC)
