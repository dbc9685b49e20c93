"""The search for the ranker's settings on a backtest's folds, with a fixed number of trials."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluation import group_metrics
from training.evaluation.compare import PRIMARY_CUTOFF
from training.models.ranker import RankerConfig, RankerError, fit, informative, predict
from training.studies.periods import Fold

if TYPE_CHECKING:
    from optuna import Study, Trial

log = logging.getLogger(__name__)

TRIALS = 40
STARTUP = 8
"""Number of random attempts before pruning and guided sampling start."""


@dataclass(frozen=True)
class Attempt:
    """Settings, and their primary metric on each tested fold, in order of time.

    ``value`` is the mean over the groups of all these folds. A ``pruned`` attempt was stopped
    before the last fold, because it was below the median of the others.
    """

    number: int
    config: RankerConfig
    by_fold: tuple[float, ...]
    value: float
    pruned: bool


def search(
    folds: Sequence[Fold],
    current: RankerConfig,
    trials: int = TRIALS,
    on_attempt: Callable[[Attempt], None] = lambda attempt: None,
) -> list[Attempt]:
    """Tries settings on all folds, the current ones first. Returns attempts, best first.

    Optuna draws the settings (TPE, Bergstra et al. 2011; median pruning), seeded by the current
    ones. So the same folds and budget give the same attempts. Pruned attempts come last.

    A fold without a redemption in its test cannot compare settings and is left out. ``on_attempt``
    is called with each finished attempt. Raises RankerError if no fold is left, or if the first one
    has nothing to learn from.
    """
    import optuna

    usable = [replace(one, train=informative(one.train)) for one in folds if one.test.label.any()]
    if not usable:
        raise RankerError(
            f"Expected redemptions to test on, got none in {len(folds)} folds: search on a longer "
            "period."
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=current.seed, n_startup_trials=STARTUP),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
    )
    study.enqueue_trial({name: getattr(current, name) for name in _SPACE})
    attempts = []
    for _ in range(trials):
        attempts.append(_attempt(study, usable, current))
        on_attempt(attempts[-1])
    return sorted(attempts, key=lambda one: (one.pruned, -one.value, one.number))


def _attempt(study: "Study", folds: Sequence[Fold], current: RankerConfig) -> Attempt:
    from optuna.trial import TrialState

    trial = study.ask()
    drawn = {name: draw(trial, name) for name, draw in _SPACE.items()}
    config: RankerConfig = replace(current, **drawn)
    values: list[np.ndarray] = []
    for number, fold in enumerate(folds):
        values.append(_primary(fold, config))
        trial.report(group_metrics.mean(np.concatenate(values)), number)
        if number + 1 < len(folds) and trial.should_prune():
            break
    value = group_metrics.mean(np.concatenate(values))
    pruned = len(values) < len(folds)
    study.tell(trial, None if pruned else value, TrialState.PRUNED if pruned else None)
    log.info("attempt %d: %.4f after %d folds", trial.number, value, len(values))
    by_fold = tuple(map(group_metrics.mean, values))
    return Attempt(trial.number, config, by_fold, value, pruned)


def _primary(fold: Fold, config: RankerConfig) -> np.ndarray:
    """Returns the primary metric of every group of a fold; NaN for one without a redemption."""
    test = fold.test
    scores = predict(fit([fold.train], config), test.inputs, config.ranker)
    ranking = group_metrics.ranked(test.qid, test.coupon_id, test.label, scores)
    return group_metrics.ndcg(ranking, PRIMARY_CUTOFF)


def _one_of(*choices: str) -> Callable[["Trial", str], str]:
    return lambda trial, name: trial.suggest_categorical(name, choices)


def _whole(low: int, high: int, step: int = 1) -> Callable[["Trial", str], int]:
    return lambda trial, name: trial.suggest_int(name, low, high, step=step)


def _real(low: float, high: float, log: bool = False) -> Callable[["Trial", str], float]:
    return lambda trial, name: trial.suggest_float(name, low, high, log=log)


_SPACE: dict[str, Callable[["Trial", str], Any]] = {
    "objective": _one_of("rank:ndcg", "rank:pairwise"),
    "n_estimators": _whole(50, 400, 50),
    "max_depth": _whole(2, 5),
    "learning_rate": _real(0.01, 0.1, log=True),
    "min_child_weight": _real(1.0, 20.0, log=True),
    "subsample": _real(0.5, 1.0),
    "colsample_bynode": _real(0.1, 1.0),
    "reg_lambda": _real(1.0, 50.0, log=True),
    "lambdarank_num_pair_per_sample": _whole(4, 32, 4),
}
"""The search space: a function for each setting that draws its value."""
