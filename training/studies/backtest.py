"""The rolling-origin backtest: each campaign is ranked by models that know what came before it."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from training.data.frame import RankingFrame, concatenated, take
from training.data.split import settled_before

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


class BacktestError(ValueError):
    """There is nothing to test on; the message says what the frame holds."""


@dataclass(frozen=True, eq=False)
class Fold:
    """The campaigns that start at one instant (int64 microseconds), and what came before it.

    ``train`` has the pairs of earlier exposures whose outcome was settled and known strictly before
    ``start``: a coupon that is still open then is no plain zero. ``test`` has every pair of the
    campaigns' exposures and, after them, of the requests until the next campaigns start.
    """

    start: int
    campaigns: tuple[str, ...]
    train: RankingFrame
    test: RankingFrame


Scorer = Callable[[Fold], np.ndarray]
"""Scores the test pairs of a fold, having seen nothing of it but their inputs."""


@dataclass(frozen=True)
class Scored:
    """Test pairs of all folds, the start of each pair's fold, and one score a pair by model.

    ``left_out`` says of a model without scores why it could not learn from these data.
    """

    frame: RankingFrame
    fold: np.ndarray
    scores: Mapping[str, np.ndarray]
    left_out: Mapping[str, str] = field(default_factory=dict)


def origins(frame: RankingFrame, first: int) -> list[int]:
    """The instants from ``first`` on at which campaigns start: reach their first user."""
    return sorted({start for start in _starts(frame).values() if start >= first})


def fold_at(frame: RankingFrame, start: int) -> Fold:
    """The fold of the campaigns that start at an instant."""
    starts = _starts(frame)
    campaigns = tuple(sorted(name for name, begun in starts.items() if begun == start))
    tested = np.isin(frame.campaign_id, campaigns)
    known = (frame.as_of < start) & settled_before(frame, start)
    return Fold(start, campaigns, take(frame, known), take(frame, tested))


def folds(frame: RankingFrame, first: int) -> list[Fold]:
    """The folds of all campaigns that start at ``first`` (int64 microseconds) or later, in order.

    Raises BacktestError if no campaign starts, or one starts before anything is known.
    """
    return [_learnable(fold_at(frame, start)) for start in started(frame, first)]


def backtest(
    frame: RankingFrame,
    requests: RankingFrame,
    first: int,
    scorers: Mapping[str, Scorer],
    progress: Progress = lambda stage, done, total: None,
) -> tuple[Scored, Scored]:
    """Score every campaign that starts at ``first`` (int64 microseconds) or later, by every model.

    The second result is the same for ``requests``, a frame of which each group is what a request
    would rank; a model scores those until the next campaigns start. A model that cannot learn from
    what some fold holds is left out of all, but not the first of them, the one that is tested.
    Raises BacktestError if no campaign starts, or one starts before anything is known.
    """
    starts = started(frame, first)
    tested, left_out = next(iter(scorers), None), {}
    latest = np.searchsorted(starts, requests.as_of, side="right") - 1
    campaigns, asked = _Scores.empty(frame, scorers), _Scores.empty(requests, scorers)
    for done, start in enumerate(starts):
        fold = _learnable(fold_at(frame, start))
        rows = np.flatnonzero(np.isin(frame.campaign_id, fold.campaigns))
        further = np.flatnonzero(latest == done)
        whole = replace(fold, test=concatenated(fold.test, take(requests, further)))
        for name in [one for one in scorers if one not in left_out]:
            try:
                scores = scorers[name](whole)
            except ValueError as error:
                if name == tested:
                    raise
                left_out[name] = (str(error).splitlines() or [type(error).__name__])[0]
                log.warning("%s cannot learn from these data: %s", name, left_out[name])
                continue
            campaigns.put(name, start, rows, scores[: len(rows)])
            asked.put(name, start, further, scores[len(rows) :])
        # Its copy of the pairs must be gone before the next one is made.
        del fold, whole
        log.info("fold %d of %d: %d pairs", done + 1, len(starts), len(rows))
        progress("backtest", done + 1, len(starts))
    return campaigns.scored(frame, left_out), asked.scored(requests, left_out)


def parted(scored: Scored, frozen_from: int) -> dict[str, Scored]:
    """The folds before an instant (int64 microseconds), and those from it on."""
    frozen = scored.fold >= frozen_from
    return {"development": _of(scored, ~frozen), "frozen": _of(scored, frozen)}


def _of(scored: Scored, rows: np.ndarray) -> Scored:
    scores = {name: values[rows] for name, values in scored.scores.items()}
    return Scored(take(scored.frame, rows), scored.fold[rows], scores, scored.left_out)


@dataclass(frozen=True)
class _Scores:
    """The scores of a frame while they come in; the fold is 0 where none has come."""

    fold: np.ndarray
    by_model: dict[str, np.ndarray]

    @classmethod
    def empty(cls, frame: RankingFrame, models: Iterable[str]) -> "_Scores":
        nothing = np.full(len(frame), np.nan)
        return cls(np.zeros(len(frame), np.int64), {name: nothing.copy() for name in models})

    def put(self, name: str, start: int, rows: np.ndarray, scores: np.ndarray) -> None:
        self.fold[rows], self.by_model[name][rows] = start, scores

    def scored(self, frame: RankingFrame, left_out: Mapping[str, str]) -> Scored:
        whole = {name: scores for name, scores in self.by_model.items() if name not in left_out}
        return _of(Scored(frame, self.fold, whole, left_out), self.fold != 0)


def started(frame: RankingFrame, first: int) -> list[int]:
    """The ``origins`` from ``first`` on. Raises BacktestError if there are none, or if nothing was
    redeemed in their campaigns."""
    starts = origins(frame, first)
    if not starts:
        raise BacktestError(
            f"Expected campaigns that start at {shown(first)} or later, got none in {len(frame)} "
            "pairs: choose an earlier start, or ingest a longer period."
        )
    if not _redeemed(frame, starts):
        raise BacktestError(
            f"Expected redemptions in the campaigns that start at {shown(first)} or later, got "
            f"none in {len(starts)}: choose an earlier start, or ingest a longer period."
        )
    return starts


def check_parts(frame: RankingFrame, starts: Sequence[int], frozen_from: int) -> None:
    """Raise BacktestError unless campaigns with a redemption start on both sides of an instant
    (int64 microseconds)."""
    parts = {
        "before": [start for start in starts if start < frozen_from],
        "from then on": [start for start in starts if start >= frozen_from],
    }
    for when, those in parts.items():
        if not _redeemed(frame, those):
            raise BacktestError(
                f"Expected campaigns that start before {shown(frozen_from)} and from then on, each "
                f"with a redemption, got none {when}: choose another instant."
            )


def _redeemed(frame: RankingFrame, starts: Sequence[int]) -> bool:
    """Whether anything was redeemed in the campaigns that start at these instants."""
    campaigns = [name for name, start in _starts(frame).items() if start in set(starts)]
    return bool(frame.label[np.isin(frame.campaign_id, campaigns)].any())


def _learnable(fold: Fold) -> Fold:
    if not fold.train.label.any():
        raise BacktestError(
            f"Expected redemptions known before {shown(fold.start)}, got none in "
            f"{len(fold.train)} pairs: choose a later start."
        )
    return fold


def shown(instant: int) -> str:
    """An instant (int64 microseconds) as people write it."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(instant))).isoformat()


def _starts(frame: RankingFrame) -> dict[str, int]:
    campaigns, codes = np.unique(frame.campaign_id.astype(str), return_inverse=True)
    first = np.full(len(campaigns), np.iinfo(np.int64).max)
    np.minimum.at(first, codes, frame.as_of)
    return dict(zip(campaigns.tolist(), first.tolist(), strict=True))
