"""The ranker: gradient-boosted trees that order the coupons of a visit."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.names import LINEAR_ATTRIBUTE
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF
from serving.policy.base_margin import BaseMargin
from serving.policy.scores import RULES, base_score, boosted_scores
from training.data.frame import RankingFrame, group_sizes, groups, take
from training.models.linear import fit_linear

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
    "percov",
    "cart_covered_amount",
)
"""Inputs with a monotone constraint: a higher value never lowers the sum of the trees.

With all else equal, a user who bought more of the covered products, or has more of them in the
cart, is not less likely to use the coupon. Nor is the user of a coupon that others use more often.
The constraint stops the trees from learning the opposite from a few labels.
"""

RATE_VISITS = 300
"""The number of visits with a redemption at which the learning rate is the one of the settings.

With more visits the trees learn faster, in proportion, and with fewer more slowly: up to 3 times.
"""


class RankerError(ValueError):
    """The ranker cannot be fitted; the message names what the frame lacks."""


@dataclass(frozen=True)
class RankerConfig:
    """Settings of a ranker, chosen on the visits of May to August 2017 (EXPERIMENTS.md).

    ``ranker`` is a key of ``names.RANKERS``: it selects the inputs of the trees and the rule
    whose margin they add to. ``learning_rate`` is that of RATE_VISITS visits.
    """

    ranker: str = "home"
    objective: str = "rank:pairwise"
    n_estimators: int = 150
    max_depth: int = 3
    learning_rate: float = 0.03
    min_child_weight: float = 5.0
    subsample: float = 0.8
    colsample_bynode: float = 0.3
    reg_lambda: float = 5.0
    lambdarank_pair_method: str = "topk"
    lambdarank_num_pair_per_sample: int = 32
    rising: tuple[str, ...] = RISING
    seed: int = 2017
    nthread: int = 2


def fit(
    parts: Sequence[RankingFrame], config: RankerConfig, progress: Progress | None = None
) -> "Booster":
    """Fits trees that correct the base margin; the same frames and seed give the same bytes.

    The base margin is that of the plain rule plus a linear part, which the model file keeps. With
    few labels the ranking stays near the rule's. The linear part learns from all groups. The trees
    leave out groups without both labels, which have no order to learn. ``progress`` receives the
    number of fitted trees and the total. Raises RankerError if no group is left.
    """
    import xgboost

    informative_parts = [part for part in map(informative, parts) if len(part)]
    if not informative_parts:
        raise RankerError(
            "Expected visits with redeemed and unredeemed coupons, got none in "
            f"{sum(map(len, parts))} pairs: move test_start later, or ingest a longer period."
        )
    inputs = np.concatenate([part.inputs for part in informative_parts])
    labels = np.concatenate([part.label for part in informative_parts])
    sizes = [_sizes(part) for part in informative_parts]
    visits = sum(map(len, sizes))
    linear = fit_linear(parts, config.ranker, visits, config.seed)
    read = INPUTS_OF[config.ranker]
    data = xgboost.DMatrix(inputs[:, : len(read)], labels, feature_names=list(read))
    data.set_group(np.concatenate(sizes))
    data.set_base_margin(BaseMargin(RULES[config.ranker], linear)(inputs))
    callbacks = [_reporter(progress, config.n_estimators)] if progress else None
    settings = _settings(config, visits)
    model = xgboost.train(settings, data, config.n_estimators, callbacks=callbacks)
    if linear is not None:
        model.set_attr(**{LINEAR_ATTRIBUTE: linear.to_json()})
    return model


def predict(model: "Booster", inputs: np.ndarray, ranker: str) -> np.ndarray:
    """Scores every row: the base margin plus the correction of the trees; higher is better.

    ``inputs`` is the whole matrix, ``ranker`` the key of the ranker that the model was fitted for.
    """
    width = len(INPUTS_OF[ranker])
    rows = np.ascontiguousarray(inputs[:, :width], dtype=np.float32)
    base, margin = base_score(model, width), BaseMargin.of_model(model, ranker)
    return boosted_scores(model.inplace_predict(rows), base, margin(inputs))


def model_bytes(model: "Booster") -> bytes:
    """Serializes a model to XGBoost's binary JSON, the format of the registry."""
    return bytes(model.save_raw("ubj"))


def importance(model: "Booster", count: int = 20) -> list[tuple[str, float]]:
    """Returns the inputs with the largest gain, as shares of the total gain, in falling order."""
    gains: dict[str, float] = model.get_score(importance_type="total_gain")  # type: ignore[assignment]  # a list for linear boosters only
    total = sum(gains.values()) or 1.0
    ordered = sorted(gains.items(), key=lambda item: (-item[1], item[0]))
    return [(name, gain / total) for name, gain in ordered[:count]]


def informative(frame: RankingFrame) -> RankingFrame:
    """Selects the groups with both redeemed and unredeemed coupons."""
    if len(frame) == 0:
        return frame
    starts = groups(frame)
    sizes = group_sizes(starts, len(frame))
    positives = np.add.reduceat(frame.label.astype(np.int64), starts)
    return take(frame, np.repeat((positives > 0) & (positives < sizes), sizes))


def _settings(config: RankerConfig, visits: int) -> dict[str, Any]:
    settings = asdict(config)
    rising, read = settings.pop("rising"), INPUTS_OF[settings.pop("ranker")]
    del settings["n_estimators"]
    settings["monotone_constraints"] = tuple(int(name in rising) for name in read)
    settings["learning_rate"] *= min(max(visits / RATE_VISITS, 1 / 3), 3.0)
    return settings | {"tree_method": "hist"}


def _reporter(progress: Progress, total: int) -> "TrainingCallback":
    from xgboost.callback import TrainingCallback

    class Reporter(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            progress(epoch + 1, total)
            return False

    return Reporter()


def _sizes(frame: RankingFrame) -> np.ndarray:
    return group_sizes(groups(frame), len(frame))
