"""Folds by campaign: each campaign is ranked by models trained only on earlier data."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from feature_repo.instants import from_microseconds
from training.data.frame import RankingFrame, concatenated, take
from training.studies.backtest import BacktestError, Fit, Progress
from training.studies.backtest_scores import BacktestScores
from training.studies.periods import Fold, settled_pairs

log = logging.getLogger(__name__)


def origins(frame: RankingFrame, first: int) -> list[int]:
    """Returns the instants from ``first`` on at which a campaign reaches its first user."""
    return sorted({start for start in _starts(frame).values() if start >= first})


def fold_at(frame: RankingFrame, start: int) -> Fold:
    """Builds the fold of the campaigns that start at an instant.

    ``train`` has the pairs of earlier exposures, ``test`` every pair of the campaigns' exposures.
    """
    tested = np.isin(frame.campaign_id, _campaigns(frame, start))
    return Fold(start, settled_pairs(frame, start), take(frame, tested))


def _campaigns(frame: RankingFrame, start: int) -> list[str]:
    return sorted(name for name, first in _starts(frame).items() if first == start)


def folds(frame: RankingFrame, first: int) -> list[Fold]:
    """Builds the folds of all campaigns that start at ``first`` or later, in order.

    ``first`` is in int64 microseconds. Raises BacktestError if no campaign starts, or if one starts
    before the first known redemption.
    """
    return [_checked(fold_at(frame, start)) for start in checked_origins(frame, first)]


def backtest(
    frame: RankingFrame,
    requests: RankingFrame,
    first: int,
    fits: Mapping[str, Fit],
    progress: Progress = lambda stage, done, total: None,
) -> tuple[BacktestScores, BacktestScores]:
    """Scores every campaign that starts at ``first`` or later with every model.

    ``first`` is in int64 microseconds. The second result has the scores of ``requests``, a frame
    with one group for each request. The models of a fold score the requests up to the next fold.

    The first of ``fits`` is the model under test. Another model that cannot be fitted on some
    fold is left out of all folds. Raises BacktestError if no campaign starts, or if one starts
    before the first known redemption.
    """
    starts = checked_origins(frame, first)
    under_test = next(iter(fits), None)
    left_out: dict[str, str] = {}
    latest = np.searchsorted(starts, requests.as_of, side="right") - 1
    campaigns, by_request = _Scores.empty(frame, fits), _Scores.empty(requests, fits)
    for done, start in enumerate(starts):
        fold = _checked(fold_at(frame, start))
        rows = np.flatnonzero(np.isin(frame.campaign_id, _campaigns(frame, start)))
        further = np.flatnonzero(latest == done)
        whole = replace(fold, test=concatenated(fold.test, take(requests, further)))
        for name in [one for one in fits if one not in left_out]:
            try:
                scores = fits[name]([fold.train], start)(whole.test)
            except ValueError as error:
                if name == under_test:
                    raise
                left_out[name] = (str(error).splitlines() or [type(error).__name__])[0]
                log.warning("left out %s, which cannot be fitted: %s", name, left_out[name])
                continue
            campaigns.put(name, start, rows, scores[: len(rows)])
            by_request.put(name, start, further, scores[len(rows) :])
        # Frees its copy of the pairs before the next fold makes one.
        del fold, whole
        log.info("scored fold %d of %d: %d pairs", done + 1, len(starts), len(rows))
        progress("backtest", done + 1, len(starts))
    return campaigns.collected(frame, left_out), by_request.collected(requests, left_out)


def split_frozen(scored: BacktestScores, frozen_from: int) -> dict[str, BacktestScores]:
    """Splits into the folds before an instant (int64 microseconds) and those from it on.

    The keys are ``development`` and ``frozen``.
    """
    frozen = scored.fold >= frozen_from
    return {"development": _rows(scored, ~frozen), "frozen": _rows(scored, frozen)}


def _rows(scored: BacktestScores, rows: np.ndarray) -> BacktestScores:
    scores = {name: values[rows] for name, values in scored.scores.items()}
    return BacktestScores(take(scored.frame, rows), scored.fold[rows], scores, scored.left_out)


@dataclass(frozen=True)
class _Scores:
    """Collects the scores of a frame fold by fold; the fold is 0 for a pair without scores."""

    fold: np.ndarray
    by_model: dict[str, np.ndarray]

    @classmethod
    def empty(cls, frame: RankingFrame, models: Iterable[str]) -> "_Scores":
        nothing = np.full(len(frame), np.nan)
        return cls(np.zeros(len(frame), np.int64), {name: nothing.copy() for name in models})

    def put(self, name: str, start: int, rows: np.ndarray, scores: np.ndarray) -> None:
        self.fold[rows], self.by_model[name][rows] = start, scores

    def collected(self, frame: RankingFrame, left_out: Mapping[str, str]) -> BacktestScores:
        complete = {name: scores for name, scores in self.by_model.items() if name not in left_out}
        return _rows(BacktestScores(frame, self.fold, complete, left_out), self.fold != 0)


def checked_origins(frame: RankingFrame, first: int) -> list[int]:
    """Returns the ``origins`` from ``first`` on.

    Raises BacktestError if there are none, or if their campaigns have no redemption.
    """
    starts = origins(frame, first)
    if not starts:
        raise BacktestError(
            f"Expected campaigns that start at {_iso(first)} or later, got none in {len(frame)} "
            "pairs: choose an earlier start, or ingest a longer period."
        )
    if not _has_redemption(frame, starts):
        raise BacktestError(
            f"Expected redemptions in the campaigns that start at {_iso(first)} or later, got "
            f"none in {len(starts)} folds: choose an earlier start, or ingest a longer period."
        )
    return starts


def check_parts(frame: RankingFrame, starts: Sequence[int], frozen_from: int) -> None:
    """Raises BacktestError unless both parts of ``split_frozen`` have a redemption."""
    parts = {
        "before": [start for start in starts if start < frozen_from],
        "from then on": [start for start in starts if start >= frozen_from],
    }
    for when, those in parts.items():
        if not _has_redemption(frame, those):
            raise BacktestError(
                f"Expected redeemed coupons in campaigns that start before {_iso(frozen_from)} and "
                f"from then on, got none {when}: choose another instant."
            )


def _has_redemption(frame: RankingFrame, starts: Sequence[int]) -> bool:
    """True if a coupon was redeemed in the campaigns that start at these instants."""
    campaigns = [name for name, start in _starts(frame).items() if start in set(starts)]
    return bool(frame.label[np.isin(frame.campaign_id, campaigns)].any())


def _checked(fold: Fold) -> Fold:
    if not fold.train.label.any():
        raise BacktestError(
            f"Expected redemptions known before {_iso(fold.start)}, got none in "
            f"{len(fold.train)} pairs: choose a later start."
        )
    return fold


def _iso(instant: int) -> str:
    return from_microseconds(instant).isoformat()


def _starts(frame: RankingFrame) -> dict[str, int]:
    campaigns, codes = np.unique(frame.campaign_id.astype(str), return_inverse=True)
    first = np.full(len(campaigns), np.iinfo(np.int64).max)
    np.minimum.at(first, codes, frame.as_of)
    return dict(zip(campaigns.tolist(), first.tolist(), strict=True))
