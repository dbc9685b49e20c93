"""Frames in which one input decides the label, for tests of models that learn."""

import numpy as np

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from tests.support.ranking_frames import numbered, ranking_frame
from training.data.frame import RankingFrame

SIZE = 10


def frame(seed: int, groups: int = 150) -> RankingFrame:
    """Builds groups whose two coupons with the most category purchases are redeemed.

    All other inputs are noise.
    """
    rng, count = np.random.default_rng(seed), groups * SIZE
    inputs = rng.random((count, len(RANKER_INPUTS)), dtype=np.float32)
    # The trees start from this input, so its noise matters: up to three major units spent.
    inputs[:, RANKER_INPUTS.index("own_spend")] *= 300
    signal = inputs[:, RANKER_INPUTS.index("category_purchase_share")].reshape(-1, SIZE)
    label = (signal.argsort(axis=1).argsort(axis=1) >= SIZE - 2).astype(np.int8).ravel()
    return ranking_frame(numbered(f"q{seed}-", groups, SIZE), label, inputs=inputs)
