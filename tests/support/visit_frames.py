"""Visits over time, with labels that scores can learn, for tests of the backtest."""

from dataclasses import replace

import numpy as np

from feature_repo.instants import DAY
from tests.support.ranking_frames import numbered, ranking_frame
from training.data.frame import NEVER, RankingFrame

HOUR = DAY // 24

MAY = 1_493_596_800_000_000
"""2017-05-01 in UTC, a Monday."""


def visits(
    count: int, days: int, size: int = 8, seed: int = 0, rate: float = 0.02, first: int = MAY
) -> RankingFrame:
    """Draws visits of ``size`` coupons over ``days`` days from ``first`` on, in order of time.

    ``own_spend`` raises the odds. Most visits have no redemption. A redemption becomes known at the
    next midnight, and a pair without one is final after 25 hours. Some coupons that were not
    redeemed at the visit are redeemed later.
    """
    rng = np.random.default_rng(seed)
    rows = count * size
    as_of = np.repeat(first + np.sort(rng.integers(0, days * DAY, count)), size)
    spend = rng.exponential(1.0, rows)
    label = (rng.random(rows) < np.minimum(rate * spend**2, 0.9)).astype(np.int8)
    later = np.maximum(label, rng.random(rows) < 2 * rate * spend).astype(np.int8)
    months = (as_of - first) // (30 * DAY)
    return ranking_frame(
        numbered("q", count, size),
        label,
        later=later,
        user_id=np.repeat(rng.choice([f"u{n}" for n in range(60)], count), size),
        campaign_id=[f"{8 + 5 * month}" for month in months],
        as_of=as_of,
        open_until=as_of + 25 * HOUR,
        learned=np.where(label > 0, (as_of // DAY + 1) * DAY, NEVER),
        own_spend=100 * spend,
        covered_buyer_count_all=rng.integers(0, 50, rows),
        own_purchase_count=rng.poisson(spend),
        purchase_count_all=np.repeat(rng.choice([5, 300, 800], count), size),
        age_min=np.repeat(rng.choice([25, 55], count), size),
        kids_count=np.repeat(rng.choice([0, 2], count), size),
        income_min=np.nan,
    )


def with_labels(frame: RankingFrame, label: np.ndarray) -> RankingFrame:
    """Replaces the redemptions; they become known at the midnight after their visit."""
    learned = np.where(label > 0, (frame.as_of // DAY + 1) * DAY, NEVER)
    later = np.maximum(frame.later, label).astype(np.int8)
    return replace(frame, label=label.astype(np.int8), later=later, learned=learned)
