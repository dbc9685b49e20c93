"""The ranker: gradient-boosted trees that learn the order of the coupons within an exposure."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.transforms.request import RANKER_INPUTS
from training.frame import RankingFrame, group_sizes, groups, take

if TYPE_CHECKING:
    from xgboost import Booster, XGBRanker
    from xgboost.callback import TrainingCallback

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

RISING: tuple[str, ...] = (
    "own_purchase_count",
    "own_purchase_decayed_90d",
    "own_purchase_share",
    "own_product_count",
    "own_coupon_use_count",
)
"""Inputs of which more can only help a coupon: a user who bought more of what it covers, alike in
all else, is not less likely to use it. The constraint keeps few labels from saying otherwise."""


class RankerError(ValueError):
    """The ranker cannot be fitted; the message says what the frame lacks."""


@dataclass(frozen=True)
class RankerConfig:
    """Settings of the ranker: usual values for few labels.

    ``n_estimators`` is the most trees. With ``least_valid_groups`` to learn from in valid, training
    stops after ``early_stopping_rounds`` trees that do not improve ndcg@10 there, and that many
    trees are fitted on train and valid together if ``refit``. On fewer, all trees are fitted.
    """

    objective: str = "rank:ndcg"
    n_estimators: int = 200
    max_depth: int = 3
    learning_rate: float = 0.05
    min_child_weight: float = 5.0
    subsample: float = 0.8
    colsample_bytree: float = 0.5
    reg_lambda: float = 10.0
    lambdarank_pair_method: str = "topk"
    lambdarank_num_pair_per_sample: int = 20
    early_stopping_rounds: int = 50
    least_valid_groups: int = 50
    rising: tuple[str, ...] = RISING
    refit: bool = True
    seed: int = 2017
    nthread: int = 2


def fit(
    train: RankingFrame,
    valid: RankingFrame,
    config: RankerConfig,
    progress: Progress | None = None,
) -> "Booster":
    """Learn to order the coupons of an exposure; the same frames and seed give the same bytes.

    Groups in which nothing or everything was redeemed have no order to learn and are left out.
    ``progress`` hears of the trees done and of the most there will be, and starts again for the
    second fit. Raises RankerError if train has nothing to learn from.
    """
    known, watched = informative(train), informative(valid)
    if len(known) == 0:
        raise RankerError(
            f"Expected exposures with redeemed and unredeemed coupons, got none in {len(train)} "
            "pairs: train on a longer window or move valid_start later."
        )
    if len(groups(watched)) < config.least_valid_groups:
        logger.info(
            "valid has %d groups to learn from, fewer than %d: no early stop, %d trees",
            *(len(groups(watched)), config.least_valid_groups, config.n_estimators),
        )
        return _booster(_fit([known, watched], None, config, progress))
    model = _fit([known], watched, config, progress)
    trees = model.best_iteration + 1
    logger.info("ndcg@10 on valid %.4f at %d trees", model.best_score, trees)
    if not config.refit:
        return _booster(model)[:trees]
    return _booster(_fit([known, watched], None, replace(config, n_estimators=trees), progress))


def predict(model: "Booster", inputs: np.ndarray) -> np.ndarray:
    """The score of every row: float32, comparable within a group, higher is better."""
    return model.inplace_predict(np.ascontiguousarray(inputs, dtype=np.float32))


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


def _fit(
    parts: Sequence[RankingFrame],
    watched: RankingFrame | None,
    config: RankerConfig,
    progress: Progress | None,
) -> "XGBRanker":
    from xgboost import XGBRanker

    model = XGBRanker(**_settings(config, watched is not None, progress))
    held_out = {}
    if watched is not None:
        held_out["eval_set"] = [(watched.inputs, watched.label)]
        held_out["eval_group"] = [_sizes(watched)]
    return model.fit(
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.label for part in parts]),
        group=np.concatenate([_sizes(part) for part in parts]),
        verbose=False,
        **held_out,
    )


def _settings(config: RankerConfig, early: bool, progress: Progress | None) -> dict[str, Any]:
    settings = asdict(config)
    rising, seed = settings.pop("rising"), settings.pop("seed")
    del settings["refit"], settings["least_valid_groups"]
    settings["monotone_constraints"] = tuple(int(name in rising) for name in RANKER_INPUTS)
    settings["callbacks"] = [_reporter(progress, config.n_estimators)] if progress else None
    if not early:
        del settings["early_stopping_rounds"]
    return settings | {"random_state": seed, "tree_method": "hist", "eval_metric": "ndcg@10"}


def _reporter(progress: Progress, most: int) -> "TrainingCallback":
    from xgboost.callback import TrainingCallback

    class Reporter(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            progress(epoch + 1, most)
            return False

    return Reporter()


def _booster(model: "XGBRanker") -> "Booster":
    booster = model.get_booster()
    booster.feature_names = list(RANKER_INPUTS)
    return booster


def _sizes(frame: RankingFrame) -> np.ndarray:
    return group_sizes(groups(frame), len(frame))
