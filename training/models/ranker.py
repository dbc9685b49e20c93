"""The ranker: gradient-boosted trees that learn the order of the coupons within an exposure."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.policy.scores import boosted_scores, rule_margin, trees_start
from training.data.frame import RankingFrame, group_sizes, groups, take

if TYPE_CHECKING:
    from xgboost import Booster
    from xgboost.callback import TrainingCallback

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

RISING: tuple[str, ...] = (
    "own_purchase_count",
    "own_purchase_decayed_90d",
    "own_purchase_share",
    "own_spend",
    "own_product_count",
    "own_coupon_use_count",
)
"""Inputs of which more can only help a coupon: a user who bought more of what it covers, alike in
all else, is not less likely to use it. The constraint keeps few labels from saying otherwise."""


class RankerError(ValueError):
    """The ranker cannot be fitted; the message says what the frame lacks."""


@dataclass(frozen=True)
class RankerConfig:
    """Settings of the ranker, chosen on campaign starts of May to August 2017 (EXPERIMENTS.md)."""

    objective: str = "rank:ndcg"
    n_estimators: int = 200
    max_depth: int = 3
    learning_rate: float = 0.03
    min_child_weight: float = 5.0
    subsample: float = 0.8
    colsample_bytree: float = 0.5
    reg_lambda: float = 10.0
    lambdarank_pair_method: str = "topk"
    lambdarank_num_pair_per_sample: int = 20
    rising: tuple[str, ...] = RISING
    seed: int = 2017
    nthread: int = 2


def fit(
    parts: Sequence[RankingFrame], config: RankerConfig, progress: Progress | None = None
) -> "Booster":
    """Learn what to add to the plain rule; the same frames and seed give the same bytes.

    The trees start from ``rule_margin``, so that with few labels the ranking stays near the rule's.
    Groups in which nothing or everything was redeemed have no order to learn and are left out.
    ``progress`` hears of the trees done and of all. Raises RankerError if there is no order at all.
    """
    import xgboost

    known = [part for part in map(informative, parts) if len(part)]
    if not known:
        raise RankerError(
            "Expected exposures with redeemed and unredeemed coupons, got none in "
            f"{sum(map(len, parts))} pairs: move test_start later, or ingest a longer period."
        )
    inputs = np.concatenate([part.inputs for part in known])
    labels = np.concatenate([part.label for part in known])
    data = xgboost.DMatrix(inputs, labels, feature_names=list(RANKER_INPUTS))
    data.set_group(np.concatenate([_sizes(part) for part in known]))
    data.set_base_margin(rule_margin(inputs))
    callbacks = [_reporter(progress, config.n_estimators)] if progress else None
    return xgboost.train(_settings(config), data, config.n_estimators, callbacks=callbacks)


def predict(model: "Booster", inputs: np.ndarray) -> np.ndarray:
    """The score of every row, the rule's margin and what the trees add: higher is better."""
    rows = np.ascontiguousarray(inputs, dtype=np.float32)
    return boosted_scores(model.inplace_predict(rows), trees_start(model), rows)


def model_bytes(model: "Booster") -> bytes:
    """The model file, in XGBoost's binary JSON, as the registry holds it."""
    return bytes(model.save_raw("ubj"))


def importance(model: "Booster", count: int = 20) -> list[tuple[str, float]]:
    """The inputs that the trees gained most from, as parts of the whole gain, falling."""
    gains = model.get_score(importance_type="total_gain")
    whole = sum(gains.values()) or 1.0
    ordered = sorted(gains.items(), key=lambda item: (-item[1], item[0]))
    return [(name, gain / whole) for name, gain in ordered[:count]]


def informative(frame: RankingFrame) -> RankingFrame:
    """The groups in which some coupons were redeemed and some were not."""
    if len(frame) == 0:
        return frame
    starts = groups(frame)
    sizes = group_sizes(starts, len(frame))
    positives = np.add.reduceat(frame.label.astype(np.int64), starts)
    return take(frame, np.repeat((positives > 0) & (positives < sizes), sizes))


def _settings(config: RankerConfig) -> dict[str, Any]:
    settings = asdict(config)
    rising = settings.pop("rising")
    del settings["n_estimators"]
    settings["monotone_constraints"] = tuple(int(name in rising) for name in RANKER_INPUTS)
    return settings | {"tree_method": "hist"}


def _reporter(progress: Progress, most: int) -> "TrainingCallback":
    from xgboost.callback import TrainingCallback

    class Reporter(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            progress(epoch + 1, most)
            return False

    return Reporter()


def _sizes(frame: RankingFrame) -> np.ndarray:
    return group_sizes(groups(frame), len(frame))
