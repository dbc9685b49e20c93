"""The results of a rolling backtest: scores of visits with an order, and a row for every visit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from serving.policy.probability import Calibration
from training.data.frame import RankingFrame, concatenated, group_sizes, groups, take
from training.evaluation.compare import PRIMARY_CUTOFF
from training.evaluation.group_metrics import ndcg, ranked
from training.evaluation.orders import WithoutOrder, count_without_order, rows_with_order


@dataclass(frozen=True)
class BacktestScores:
    """Tested pairs, the start of each pair's period, and the scores by model.

    ``left_out`` maps each model without scores to the reason why it could not be fitted.
    """

    frame: RankingFrame
    fold: np.ndarray
    scores: Mapping[str, np.ndarray]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LaterScores:
    """The primary metric by model on visits with an order under redemptions now or later.

    Arrays have one value for each such visit. ``as_of`` is in int64 microseconds.
    """

    user_id: np.ndarray
    as_of: np.ndarray
    values: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Visits:
    """All tested visits, and the probabilities of their redemptions.

    ``as_of`` is in int64 microseconds. ``candidates`` and ``redeemed`` are numbers of coupons.
    ``probability`` is that of any redemption, ``expected`` the sum of the coupons' probabilities;
    both are NaN before the first calibration. A visit stands for ``weight`` visits.
    """

    as_of: np.ndarray
    candidates: np.ndarray
    redeemed: np.ndarray
    probability: np.ndarray
    expected: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.as_of)

    @property
    def without_order(self) -> WithoutOrder:
        """The visits without an order, by reason."""
        return count_without_order(self.candidates, self.redeemed)


@dataclass(frozen=True)
class RollingScores:
    """The results of one ranker.

    ``ordered`` has the scores of the visits with an order, of all models. ``exposures`` has the
    scores of the campaigns' exposures by the models of their time. It is None without exposures.
    """

    ranker: str
    ordered: BacktestScores
    later: LaterScores
    visits: Visits
    exposures: BacktestScores | None


def visits_of(frame: RankingFrame, scores: np.ndarray, calibration: Calibration | None) -> Visits:
    """Summarizes each visit of ``frame``; ``scores`` has one value for each pair."""
    starts = groups(frame)
    probability = expected = np.full(len(starts), np.nan)
    if calibration is not None and len(starts):
        of_coupons, probability = calibration.of_requests(scores, frame.inputs, starts)
        expected = np.add.reduceat(of_coupons, starts)
    return Visits(
        frame.as_of[starts],
        group_sizes(starts, len(frame)),
        np.add.reduceat((frame.label > 0).astype(np.int64), starts),
        probability,
        expected,
        frame.weight[starts],
    )


def between(found: RollingScores, first: int, until: int) -> RollingScores:
    """Selects the visits and exposures with ``first <= as_of < until``, in int64 microseconds."""

    def here(as_of: np.ndarray) -> np.ndarray:
        return (as_of >= first) & (as_of < until)

    later, exposures = here(found.later.as_of), found.exposures
    visits = {one.name: getattr(found.visits, one.name) for one in fields(Visits)}
    kept = here(found.visits.as_of)
    return replace(
        found,
        ordered=_rows(found.ordered, here(found.ordered.frame.as_of)),
        later=LaterScores(
            found.later.user_id[later],
            found.later.as_of[later],
            {name: values[later] for name, values in found.later.values.items()},
        ),
        visits=Visits(**{name: values[kept] for name, values in visits.items()}),
        exposures=exposures and _rows(exposures, here(exposures.frame.as_of)),
    )


def _rows(scored: BacktestScores, rows: np.ndarray) -> BacktestScores:
    scores = {name: values[rows] for name, values in scored.scores.items()}
    return BacktestScores(take(scored.frame, rows), scored.fold[rows], scores, scored.left_out)


class ScoreCollector:
    """The results of one ranker so far, one part for each scored run of visits."""

    def __init__(self, ranker: str) -> None:
        self._ranker = ranker
        self._frames: list[RankingFrame] = []
        self._folds: list[np.ndarray] = []
        self._scores: list[dict[str, np.ndarray]] = []
        self._later: list[LaterScores] = []
        self._visits: list[Visits] = []

    @property
    def has_order(self) -> bool:
        """True if some visit has an order under its own redemptions."""
        return any(map(len, self._frames))

    def add(self, frame: RankingFrame, scores: Mapping[str, np.ndarray], fold: int) -> None:
        """Adds the scores of visits with an order under one of the labels.

        Those with an order only under later redemptions are reduced to their metrics.
        """
        now = rows_with_order(frame.qid, frame.label)
        self._frames.append(take(frame, now))
        self._folds.append(np.full(int(now.sum()), fold))
        self._scores.append({name: values[now] for name, values in scores.items()})
        self._later.append(_later_scores(frame, scores))

    def add_visits(self, visits: Visits) -> None:
        """Adds the summaries of all visits of a run."""
        self._visits.append(visits)

    def result(
        self,
        models: Sequence[str],
        left_out: Mapping[str, str],
        exposures: BacktestScores | None,
    ) -> RollingScores:
        """Joins the parts of these models."""
        by_model = {name: [one.values[name] for one in self._later] for name in models}
        return RollingScores(
            self._ranker,
            BacktestScores(
                concatenated(*self._frames),
                np.concatenate(self._folds),
                {name: np.concatenate([one[name] for one in self._scores]) for name in models},
                left_out,
            ),
            LaterScores(
                np.concatenate([one.user_id for one in self._later]),
                np.concatenate([one.as_of for one in self._later]),
                {name: np.concatenate(values) for name, values in by_model.items()},
            ),
            Visits(
                *(
                    np.concatenate(column)
                    for column in zip(*map(_columns, self._visits), strict=True)
                )
            ),
            exposures,
        )


class ExposureCollector:
    """Scores of the campaigns' exposures, each by the models of its period."""

    def __init__(self, frame: RankingFrame) -> None:
        self._frame = frame
        self._fold = np.zeros(len(frame), np.int64)
        self._scores: dict[str, np.ndarray] = {}

    def score(
        self, name: str, model: Callable[[RankingFrame], np.ndarray], start: int, end: int | None
    ) -> None:
        """Scores the exposures of the period ``[start, end)``; None is no end."""
        as_of = self._frame.as_of
        rows = np.flatnonzero((as_of >= start) & (as_of < (np.inf if end is None else end)))
        scores = self._scores.setdefault(name, np.full(len(self._frame), np.nan))
        if len(rows):
            scores[rows] = model(take(self._frame, rows))
            self._fold[rows] = start

    def result(self, models: Sequence[str], left_out: Mapping[str, str]) -> BacktestScores:
        """Returns the exposures that all of these models have scored."""
        scores = {name: self._scores[name] for name in models}
        scored = ~np.isnan(np.stack(list(scores.values()))).any(axis=0)
        return _rows(BacktestScores(self._frame, self._fold, scores, left_out), scored)


def _columns(visits: Visits) -> list[np.ndarray]:
    return [getattr(visits, one.name) for one in fields(Visits)]


def _later_scores(frame: RankingFrame, scores: Mapping[str, np.ndarray]) -> LaterScores:
    rows = rows_with_order(frame.qid, frame.later)
    counted = take(frame, rows)
    starts = groups(counted)
    values = {
        name: ndcg(
            ranked(counted.qid, counted.coupon_id, counted.later, score[rows]), PRIMARY_CUTOFF
        )
        for name, score in scores.items()
    }
    return LaterScores(counted.user_id[starts], counted.as_of[starts], values)
