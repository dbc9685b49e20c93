"""Real test visits as examples, with their highest coupons and their first redeemed one."""

from dataclasses import dataclass

import numpy as np

from serving.policy.order import rank
from training.data.frame import RankingFrame, column, group_sizes, groups
from training.evaluation.orders import groups_with_order
from training.evaluation.slices import COLD

SHOWN = 3
WITHIN = 10

HIT, MISS, SHORT = "hit", "miss", "short history"


@dataclass(frozen=True, eq=False)
class Example:
    """One group: rows of the frame in the order of their rank, and the ranks to show.

    Ranks count from 1. ``ranks`` are the first three and the first redeemed one.
    """

    kind: str
    rows: np.ndarray
    ranks: tuple[int, ...]
    first_redeemed: int


def pick_examples(frame: RankingFrame, scores: np.ndarray, seed: int) -> tuple[Example, ...]:
    """Draws a hit, a miss and a short history at random from the groups with an order.

    A hit has a redeemed coupon at rank 1. A miss has none among the first ten. A short history is
    that of a user with fewer than 100 purchases. If no group fits, one of the nearest is drawn. No
    group is drawn twice, so fewer than three groups give fewer examples.
    """
    ordered = _ordered(frame, scores)
    if not ordered:
        return ()
    first = np.array([np.flatnonzero(frame.label[rows] > 0)[0] + 1 for rows in ordered])
    bought = np.nan_to_num(column(frame, "purchase_count_all")[[rows[0] for rows in ordered]])
    # The distance of each group from a fitting one; all fitting groups have the same distance.
    distances = {
        HIT: first,
        MISS: -np.minimum(first, WITHIN + 1),
        SHORT: np.maximum(bought, COLD - 1),
    }
    draw, left, found = np.random.default_rng(seed), np.arange(len(ordered)), []
    for kind, distance in distances.items():
        if len(left):
            one = draw.choice(left[distance[left] == distance[left].min()])
            left = left[left != one]
            ranks = sorted({*range(1, min(SHOWN, len(ordered[one])) + 1), int(first[one])})
            found.append(Example(kind, ordered[one], tuple(ranks), int(first[one])))
    return tuple(found)


def _ordered(frame: RankingFrame, scores: np.ndarray) -> list[np.ndarray]:
    """Returns the rows of every group with an order, best first."""
    starts = groups(frame)
    ends = starts + group_sizes(starts, len(frame))
    ordered = groups_with_order(frame.qid, frame.label)
    return [
        start + rank(scores[start:end], frame.coupon_id[start:end], int(end - start))
        for start, end in zip(starts[ordered], ends[ordered], strict=True)
    ]
