"""The one builder of ranking frames in tests."""

from collections.abc import Sequence

import numpy as np

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from training.data.frame import NEVER, RankingFrame, group_sizes, group_starts

Text = str | Sequence[str] | np.ndarray
Numbers = float | Sequence[float] | np.ndarray


def ranking_frame(
    qid: Sequence[str] | np.ndarray,
    label: Sequence[int] | np.ndarray,
    *,
    user_id: Text | None = None,
    campaign_id: Text = "c",
    coupon_id: Text | None = None,
    as_of: Numbers = 0,
    later: Numbers | None = None,
    open_until: Numbers = 1,
    learned: Numbers | None = None,
    weight: Numbers = 1,
    inputs: np.ndarray | None = None,
    **columns: Numbers,
) -> RankingFrame:
    """Builds a frame with one row for each ``qid``; a single value stands for every row.

    By default the qid is also the user, the coupons of each group are ``k0, k1, ...``, a redemption
    becomes known at 1, a coupon is redeemed later only if it is redeemed now, and every input is 0.
    ``columns`` sets inputs by their names.
    """
    count = len(qid)
    if inputs is None:
        inputs = np.zeros((count, len(RANKER_INPUTS)), np.float32)
    for name, values in columns.items():
        inputs[:, RANKER_INPUTS.index(name)] = values
    if coupon_id is None:
        sizes = group_sizes(group_starts(np.asarray(qid, object)), count)
        coupon_id = [f"k{number}" for size in sizes for number in range(size)]
    if learned is None:
        learned = np.where(np.asarray(label) > 0, 1, NEVER)
    return RankingFrame(
        qid=_column(qid, count, object),
        user_id=_column(qid if user_id is None else user_id, count, object),
        campaign_id=_column(campaign_id, count, object),
        coupon_id=_column(coupon_id, count, object),
        as_of=_column(as_of, count, np.int64),
        label=_column(label, count, np.int8),
        later=_column(label if later is None else later, count, np.int8),
        open_until=_column(open_until, count, np.int64),
        learned=_column(learned, count, np.int64),
        weight=_column(weight, count, np.float32),
        inputs=inputs,
    )


def numbered(prefix: str, groups: int, size: int, shared_by: int = 1) -> np.ndarray:
    """Ids for ``groups`` groups of ``size`` rows; ``shared_by`` neighboring groups have one id."""
    names = [f"{prefix}{number // shared_by}" for number in range(groups)]
    return np.repeat(np.array(names, object), size)


def _column(values: Text | Numbers, count: int, kind: type) -> np.ndarray:
    return np.broadcast_to(np.asarray(values, kind), count).copy()
