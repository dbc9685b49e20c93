"""The contents of the reviewer's page, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from feature_repo.instants import from_microseconds
from feature_repo.transforms.request.reasons import Reason
from training.data.frame import RankingFrame, groups
from training.evaluation.compare import Evaluation, LeaderboardEntry, SliceComparison
from training.evaluation.fairness import Gap
from training.evaluation.visits import VisitQuality
from training.registry.promotion_gate import Decision
from training.registry.records import LearningRecord
from training.studies.influence import Influence

THIS_VERSION = "this version"

NOT_MEASURED = (
    "The training run of this version has no {}. To see it, train again with `clipwise train`."
)

LIMITS: tuple[str, ...] = (
    "Coupons went to selected users, not at random. So no number here shows what a coupon causes.",
    "Every coupon that the user could redeem counts as a candidate, even if the user did not see "
    "it.",
    "A redemption without a basket belongs to the user's last visit in the 24 hours before it.",
    "Only visits with an order have a value: some candidates were redeemed, and some were not. "
    "Coverage counts all visits.",
    "Equal scores are ordered by the first 8 bytes of BLAKE2b of coupon_id, as in the service.",
    "One test window is one season. The command clipwise backtest ranks the visits of many months "
    "with models trained on the data before them.",
    "The intervals cover chance between households, but not between seasons or campaigns. The more "
    "intervals you read, the more of them exclude zero by chance.",
)


@dataclass(frozen=True)
class Part:
    """Counts of one part of the data; ``start`` and ``end`` are its first and last visit."""

    name: str
    start: datetime | None
    end: datetime | None
    groups: int
    pairs: int
    redeemed: int


@dataclass(frozen=True)
class ProbabilityCheck:
    """The probabilities of the coupons and of the list, against the redemptions of the test.

    Each of ``coupons`` is (probability, share redeemed, pairs). ``coupons`` is empty and ``visits``
    None without a calibration. ``auc`` and ``average_precision`` are those of the scores over all
    pairs.
    """

    coupons: Sequence[tuple[float, float, int]]
    auc: float
    average_precision: float
    visits: VisitQuality | None


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
    """A real test visit, with its highest coupons and its first redeemed one.

    ``campaigns`` are those of the candidates. ``candidates`` counts the coupons, ``purchases`` the
    household's purchases before the visit.
    """

    kind: str
    user_id: str
    campaigns: tuple[str, ...]
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

    ``ranker`` is a key of ``RANKERS``. ``facts`` describe the run, such as the lake version and the
    commit. ``opponent`` is the model that the version would replace: the champion, or the best
    plain rule without one. ``broad`` compares with that rule in every month and campaign.
    ``cold_start`` compares with it at the start of campaigns, or is None if that was not measured.
    ``learning`` is None if the run has no learning record.
    """

    ranker: str
    title: str
    facts: Mapping[str, str]
    settings: Mapping[str, str]
    parts: Sequence[Part]
    decision: Decision
    evaluation: Evaluation
    leaderboard: Sequence[LeaderboardEntry]
    opponent: str
    broad: Sequence[SliceComparison]
    cold_start: SliceComparison | None
    slices: Sequence[SliceComparison]
    gaps: Sequence[Gap]
    probabilities: ProbabilityCheck
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
