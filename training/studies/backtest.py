"""Rolling backtest over visits: each one is ranked by models that learned only from the past.

One pass over blocks of visits in order of time. At the start of a period its models are fitted on
the visits kept so far. Memory holds the visits kept for training and those with an order, not all.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from feature_repo.instants import DAY, from_microseconds
from serving.policy.probability import Calibration
from training.data.frame import RankingFrame, take
from training.data.sample import Sample
from training.evaluation.compare import RANKER
from training.evaluation.orders import rows_with_order
from training.studies.backtest_scores import (
    ExposureCollector,
    RollingScores,
    ScoreCollector,
    visits_of,
)
from training.studies.periods import monthly, weekly
from training.studies.training_pool import TrainingPool

log = logging.getLogger(__name__)

MONTHLY, WEEK_LATE = "ranker_monthly", "ranker_week_late"
"""The ranker trained every month, and the one trained every week that serves a week late."""

CALIBRATION_DAYS = 56
"""The calibration of a period uses the visits of this number of days before it."""

Score = Callable[[RankingFrame], np.ndarray]
"""Scores every pair of a frame, without reading its outcomes."""

Sink = Callable[[str, RankingFrame, Mapping[str, np.ndarray], Mapping[str, int]], None]
"""Takes the scored visits with an order: ranker, frame, scores by model, period by model."""

Progress = Callable[[str, int, int], None]


class BacktestError(ValueError):
    """The backtest is not possible; the message names the missing data."""


class Fit(Protocol):
    """A way to make a model from the past."""

    def __call__(self, known: Sequence[RankingFrame], start: int) -> Score:
        """Fits on pairs that were settled strictly before ``start`` (int64 microseconds).

        Raises ValueError if they do not suffice.
        """


@dataclass(frozen=True)
class Contender:
    """A model in a backtest, fitted again at each of ``starts`` (int64 microseconds, ascending).

    ``late`` is the name of a second model: in every period it has the fit of the period before.
    """

    fit: Fit
    starts: tuple[int, ...]
    late: str | None = None

    def end_of(self, start: int) -> int | None:
        """Returns the end of the period that begins at ``start``; None for the last one."""
        later = self.starts[self.starts.index(start) + 1 :]
        return later[0] if later else None


def planned(fits: Mapping[str, Fit], first: int, until: int) -> dict[str, Contender]:
    """Plans the periods of models in ``[first, until)`` (int64 microseconds).

    ``RANKER`` is trained every week. It also serves a week late as ``WEEK_LATE``, and is trained
    every month as ``MONTHLY``. All other models are fitted every month. Raises BacktestError for an
    end at or before the start.
    """
    if until <= first:
        raise BacktestError(
            f"Expected visits to test from {_iso(first)} on, but the test ends at {_iso(until)}: "
            "choose an earlier start, or ingest a longer period."
        )
    months = monthly(first, until)
    others = {name: Contender(fit, months) for name, fit in fits.items() if name != RANKER}
    return {
        RANKER: Contender(fits[RANKER], weekly(first, until), WEEK_LATE),
        MONTHLY: Contender(fits[RANKER], months),
        **others,
    }


def backtest(
    blocks: Iterable[tuple[str, RankingFrame]],
    contenders: Mapping[str, Mapping[str, Contender]],
    sample: Sample,
    sink: Sink = lambda ranker, frame, scores, folds: None,
    exposures: Mapping[str, RankingFrame] | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, RollingScores]:
    """Scores the visits of every ranker in one pass, and returns the results by ranker.

    ``blocks`` are pairs of a ranker and a frame of whole visits. The blocks of one ranker are in
    order of time: a period is fitted when its first visit arrives, so no earlier visit may follow.
    ``contenders`` maps each ranker to its models by name. ``RANKER`` is the one under test, and all
    have the same first period. Visits before it are only learned from.

    ``RANKER`` scores every visit, the others only those with an order under one of the labels.
    These go to ``sink`` as well. ``exposures`` maps rankers to a frame of campaigns' exposures,
    which are scored by the models of their time but not learned from.

    A model that cannot be fitted is left out from then on and has no result. Raises BacktestError
    for blocks out of order, for a ranker without contenders, and if ``RANKER`` has nothing to learn
    from, or no visit with an order.
    """
    rolling = {
        ranker: _Rolling(ranker, models, sample, sink, (exposures or {}).get(ranker), progress)
        for ranker, models in contenders.items()
    }
    for ranker, block in blocks:
        if ranker not in rolling:
            raise BacktestError(
                f"Expected blocks of {', '.join(rolling)}, got one of {ranker!r}: add its "
                "contenders."
            )
        rolling[ranker].feed(block)
    return {ranker: one.result() for ranker, one in rolling.items()}


class _Rolling:
    """The backtest of one ranker: its kept visits, its present models, and its results."""

    def __init__(
        self,
        ranker: str,
        contenders: Mapping[str, Contender],
        sample: Sample,
        sink: Sink,
        exposures: RankingFrame | None,
        progress: Progress,
    ) -> None:
        _check_contenders(ranker, contenders)
        self._ranker, self._sink, self._progress = ranker, sink, progress
        self._contenders = dict(contenders)
        self._starts = sorted({start for one in contenders.values() for start in one.starts})
        self._entered = 0
        self._pool = TrainingPool(sample)
        self._models: dict[str, Score] = {}
        self._folds: dict[str, int] = {}
        self._left_out: dict[str, str] = {}
        self._calibration: Calibration | None = None
        self._found = ScoreCollector(ranker)
        self._exposures = None if exposures is None else ExposureCollector(exposures)

    def feed(self, block: RankingFrame) -> None:
        """Enters the periods that begin in a block, and scores its visits."""
        if self._entered and (block.as_of < self._starts[self._entered - 1]).any():
            raise BacktestError(
                f"Expected blocks of {self._ranker} in order of time, got visits before "
                f"{_iso(self._starts[self._entered - 1])} after later ones: sort the blocks by "
                "as_of."
            )
        period = np.searchsorted(self._starts, block.as_of, side="right")
        for number in np.unique(period):
            while self._entered < number:
                self._enter(self._starts[self._entered])
                self._entered += 1
                self._progress(f"backtest {self._ranker}", self._entered, len(self._starts))
            here = period == number
            self._score(block if here.all() else take(block, here))

    def result(self) -> RollingScores:
        """Returns the results. Raises BacktestError if no visit has an order."""
        if not self._found.has_order:
            raise BacktestError(
                f"Expected tested visits of {self._ranker} with redeemed and unredeemed coupons, "
                "got none: choose an earlier start, or ingest a longer period."
            )
        models, left_out = list(self._models), self._left_out
        exposures = self._exposures
        of_exposures = None if exposures is None else exposures.result(models, left_out)
        return self._found.result(models, left_out, of_exposures)

    def _enter(self, start: int) -> None:
        """Fits the models whose period begins, and the calibration with the ranker."""
        known = self._pool.known(start)
        for name in [one for one in self._contenders if start in self._contenders[one].starts]:
            try:
                self._fit(name, known, start)
            except ValueError as error:
                if name == RANKER:
                    raise
                self._leave_out(name, error)
        if start in self._contenders[RANKER].starts:
            self._calibration = self._pool.calibration(start - CALIBRATION_DAYS * DAY, start)
        log.info("%s: fitted the models of %s", self._ranker, _iso(start))

    def _fit(self, name: str, known: Sequence[RankingFrame], start: int) -> None:
        contender = self._contenders[name]
        if name == RANKER:
            _check_known(known, start)
        earlier = None if contender.late is None else self._earlier(name, contender)
        self._use(name, contender.fit(known, start), contender, start)
        if contender.late is not None and earlier is not None:
            self._use(contender.late, earlier, contender, start)

    def _earlier(self, name: str, contender: Contender) -> Score:
        """Returns the model of the period before; it is fitted only before the first period."""
        if name in self._models:
            return self._models[name]
        first, second, *_ = contender.starts
        before = first - (second - first)
        known = self._pool.known(before)
        _check_known(known, before)
        return contender.fit(known, before)

    def _use(self, name: str, model: Score, contender: Contender, start: int) -> None:
        self._models[name], self._folds[name] = model, start
        if self._exposures is not None:
            self._exposures.score(name, model, start, contender.end_of(start))

    def _leave_out(self, name: str, error: ValueError) -> None:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("left out %s, which cannot be fitted: %s", name, reason)
        late = self._contenders.pop(name).late
        for one in (name, late) if late else (name,):
            self._left_out[one] = reason
            self._models.pop(one, None)

    def _score(self, part: RankingFrame) -> None:
        if not self._models:
            self._pool.add(part)
            return
        of_all = self._models[RANKER](part)
        either = rows_with_order(part.qid, part.label) | rows_with_order(part.qid, part.later)
        if either.any():
            few = take(part, either)
            scores = {
                name: of_all[either] if name == RANKER else model(few)
                for name, model in self._models.items()
            }
            self._sink(self._ranker, few, scores, self._folds)
            self._found.add(few, scores, self._folds[RANKER])
        self._found.add_visits(visits_of(part, of_all, self._calibration))
        self._pool.add(part, of_all)


def _check_contenders(ranker: str, contenders: Mapping[str, Contender]) -> None:
    if RANKER not in contenders:
        raise BacktestError(f"Expected a contender {RANKER!r} of {ranker}, got {[*contenders]}.")
    first = {one.starts[:1] for one in contenders.values()}
    if len(first) != 1 or () in first:
        raise BacktestError(
            f"Expected one first period for all contenders of {ranker}, got {len(first)}: start "
            "them at the same instant."
        )
    short = [name for name, one in contenders.items() if one.late and len(one.starts) < 2]
    if short:
        raise BacktestError(
            f"Expected at least two periods of {', '.join(short)}, whose model is also used a "
            "period late, got one: test a longer time."
        )


def _check_known(known: Sequence[RankingFrame], start: int) -> None:
    if not any(part.label.any() for part in known):
        raise BacktestError(
            f"Expected redemptions known before {_iso(start)}, got none in "
            f"{sum(map(len, known))} pairs: choose a later start."
        )


def _iso(instant: int) -> str:
    return from_microseconds(instant).isoformat()
