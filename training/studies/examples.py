"""Real test exposures to look at: which coupons came first, and where the redeemed ones were."""

from dataclasses import dataclass

import numpy as np

from serving.policy.order import rank
from training.data.frame import RankingFrame, column, group_sizes, groups
from training.evaluation.slices import COLD

SHOWN = 3
WITHIN = 10

HIT, MISS, SHORT = "hit", "miss", "short history"


@dataclass(frozen=True, eq=False)
class Example:
    """One group: rows of the frame in the order of their rank, and the ranks to show.

    ``ranks`` are from 1; they are the first three and the first redeemed one.
    """

    kind: str
    rows: np.ndarray
    ranks: tuple[int, ...]
    first_redeemed: int


def pick_examples(frame: RankingFrame, scores: np.ndarray, seed: int) -> tuple[Example, ...]:
    """A hit, a miss and a short history, each drawn by the seed from all that fit, never chosen.

    Only groups with a redeemed coupon come into question. A hit has one at rank 1, a miss none
    among the first ten; where there is no such group, it is one of those that come nearest. A short
    history is that of a user with fewer than 100 purchases, else one of the shortest. No group is
    shown twice, so with fewer than three of them there are fewer examples.
    """
    ordered = _ordered(frame, scores)
    if not ordered:
        return ()
    first = np.array([np.flatnonzero(frame.label[rows] > 0)[0] + 1 for rows in ordered])
    bought = np.nan_to_num(column(frame, "purchase_count_all")[[rows[0] for rows in ordered]])
    # How far each group is from what the example is to show; those that show it are equally near.
    far = {HIT: first, MISS: -np.minimum(first, WITHIN + 1), SHORT: np.maximum(bought, COLD - 1)}
    draw, left, found = np.random.default_rng(seed), np.arange(len(ordered)), []
    for kind, distance in far.items():
        if len(left):
            one = draw.choice(left[distance[left] == distance[left].min()])
            left = left[left != one]
            ranks = sorted({*range(1, min(SHOWN, len(ordered[one])) + 1), int(first[one])})
            found.append(Example(kind, ordered[one], tuple(ranks), int(first[one])))
    return tuple(found)


def _ordered(frame: RankingFrame, scores: np.ndarray) -> list[np.ndarray]:
    """The rows of every group with a redeemed coupon, best first."""
    starts = groups(frame)
    ends = starts + group_sizes(starts, len(frame))
    return [
        start + rank(scores[start:end], frame.coupon_id[start:end], int(end - start))
        for start, end in zip(starts, ends, strict=True)
        if frame.label[start:end].any()
    ]
