"""The linear part of a ranker's base margin: logistic regression on logarithms of the inputs."""

from collections.abc import Mapping, Sequence

import numpy as np

from feature_repo.transforms.request.ranker_inputs import INPUTS_OF, INPUTS_OF_USER
from serving.policy.base_margin import LinearPart, logarithms
from training.data.frame import RankingFrame
from training.models.baselines import fitted_classifier

PAIRS = 150_000
"""Largest number of pairs that the regression learns from."""

PENALTY = 30.0
"""Strength of the squared penalty on the weights of scaled inputs."""

HALF_WEIGHT_VISITS: Mapping[str, float] = {"home": 1_000.0, "checkout": 0.0}
"""The number of visits with a redemption at which the linear part has half of its weight.

By the ranker's key. At home few visits do not settle sixty weights. At the checkout the goods in
the cart settle the order, and the linear part helps from the first visits on (EXPERIMENTS.md).
"""


def fit_linear(
    parts: Sequence[RankingFrame], ranker: str, visits: int, seed: int
) -> LinearPart | None:
    """Fits the linear part on the redeemed pairs of ``parts`` and a sample of the others.

    ``visits`` is the number of visits with a redemption. ``ranker`` is the key of the ranker. The
    inputs of the user alone help the fit, and are the same for all coupons of a visit: they have no
    weight in the result. The constant makes the mean of the sum 0, so that the scores of two
    models can be compared. Returns None without both labels.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    labels = [part.label > 0 for part in parts]
    if not any(map(np.any, labels)) or all(map(np.all, labels)):
        return None
    regression = LogisticRegression(C=1 / PENALTY, solver="newton-cholesky", tol=1e-8)
    model = make_pipeline(FunctionTransformer(_logarithms), StandardScaler(), regression)
    fitted_classifier(model, parts, ranker, seed, PAIRS)
    scaler = model[1]
    share = visits / (visits + HALF_WEIGHT_VISITS[ranker])
    weights = share * regression.coef_[0] / scaler.scale_
    kept = {
        name: place for place, name in enumerate(INPUTS_OF[ranker]) if name not in INPUTS_OF_USER
    }
    rows = list(kept.values())
    constant = -float(weights[rows] @ scaler.mean_[rows])
    return LinearPart({name: float(weights[place]) for name, place in kept.items()}, constant)


def _logarithms(values: np.ndarray) -> np.ndarray:
    """Returns the logarithms in double precision, which the fit needs."""
    return logarithms(values.astype(np.float64))
