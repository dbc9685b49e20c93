"""Frames with one real signal, for tests of what learns."""

import numpy as np

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from training.data.frame import NEVER, RankingFrame

SIZE = 10


def frame(seed: int, groups: int = 150) -> RankingFrame:
    """The two coupons with the most category purchases are redeemed; other inputs are noise."""
    rng, count = np.random.default_rng(seed), groups * SIZE
    inputs = rng.random((count, len(RANKER_INPUTS)), dtype=np.float32)
    # Noise that counts, since trees start from it: up to three major units spent.
    inputs[:, RANKER_INPUTS.index("own_spend")] *= 300
    signal = inputs[:, RANKER_INPUTS.index("category_purchase_share")].reshape(-1, SIZE)
    label = (signal.argsort(axis=1).argsort(axis=1) >= SIZE - 2).astype(np.int8).ravel()
    names = np.array([f"q{seed}-{number}" for number in range(groups)], object)
    return RankingFrame(
        qid=np.repeat(names, SIZE),
        user_id=np.repeat(names, SIZE),
        campaign_id=np.full(count, "c", object),
        coupon_id=np.tile(np.array([f"k{number}" for number in range(SIZE)], object), groups),
        as_of=np.zeros(count, np.int64),
        label=label,
        open_until=np.ones(count, np.int64),
        learned=np.where(label > 0, 1, NEVER),
        inputs=inputs,
    )
