"""The visits that a backtest keeps: to train the next models, and to calibrate their scores."""

import logging
from dataclasses import replace

import numpy as np

from serving.policy.probability import Calibration
from training.data.frame import RankingFrame, concatenated, group_sizes, groups, take
from training.data.sample import Sample
from training.data.split import settled_before
from training.models.probability import CalibrationError, fit_settled

log = logging.getLogger(__name__)


def sampled(frame: RankingFrame, sample: Sample) -> tuple[np.ndarray, RankingFrame]:
    """Returns a mask of the kept rows, and these rows.

    The weight of a drawn visit without a redemption is multiplied by 1 / share.
    """
    starts = groups(frame)
    if len(starts) == 0:
        return np.zeros(0, bool), frame
    sizes = group_sizes(starts, len(frame))
    redeemed = np.maximum.reduceat(frame.label > 0, starts)
    drawn = np.array([sample.is_drawn(qid) for qid in frame.qid[starts]])
    rows = np.repeat(redeemed | drawn, sizes)
    weight = frame.weight * np.repeat(np.where(redeemed, 1.0, 1 / sample.share), sizes)
    kept = take(frame, rows)
    return rows, replace(kept, weight=weight[rows].astype(np.float32))


class TrainingPool:
    """The kept visits of the past, and the scores that the ranker of their time gave them."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._parts: list[RankingFrame] = []
        self._scored: list[tuple[RankingFrame, np.ndarray]] = []

    def add(self, frame: RankingFrame, scores: np.ndarray | None = None) -> None:
        """Keeps the visits with a redemption and a sample of the others.

        ``scores`` has one value for each pair, by a model that has not learned from these visits.
        """
        rows, kept = sampled(frame, self._sample)
        if not len(kept):
            return
        self._parts.append(kept)
        if scores is not None:
            self._scored.append((kept, np.asarray(scores)[rows]))

    def known(self, cutoff: int) -> list[RankingFrame]:
        """Returns the pairs whose outcome was final and known strictly before ``cutoff``."""
        found = []
        for part in self._parts:
            settled = (part.as_of < cutoff) & settled_before(part, cutoff)
            if settled.any():
                found.append(part if settled.all() else take(part, settled))
        return found

    def calibration(self, since: int, cutoff: int) -> Calibration | None:
        """Fits a calibration on scored visits from ``since`` on that were settled by ``cutoff``.

        None if there are no scored visits with a redemption yet.
        """
        recent = [
            (take(part, rows), scores[rows])
            for part, scores in self._scored
            for rows in [part.as_of >= since]
            if rows.any()
        ]
        if not recent:
            return None
        frames, scores = zip(*recent, strict=True)
        try:
            return fit_settled(concatenated(*frames), np.concatenate(scores), cutoff)
        except CalibrationError as error:
            log.info("no calibration yet: %s", error)
            return None
