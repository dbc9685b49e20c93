"""Search: the settings of the ranker that rank a backtest's folds best, within a fixed budget."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from training.evaluation import group_metrics
from training.evaluation.compare import PRIMARY_CUTOFF
from training.models.ranker import RankerConfig, RankerError, fit, informative, predict
from training.studies.backtest import Fold

if TYPE_CHECKING:
    from optuna import Study, Trial

log = logging.getLogger(__name__)

TRIALS = 40
STARTUP = 8
"""So many attempts are made before one is pruned or the search goes where it was good."""


@dataclass(frozen=True)
class Attempt:
    """Settings, and the primary metric of every fold that they were tried on, in order of time.

    ``value`` is the mean over the groups of all these folds. A ``pruned`` attempt was given up
    before the last fold, because it was below the median of the others.
    """

    number: int
    config: RankerConfig
    by_fold: tuple[float, ...]
    value: float
    pruned: bool


def search(
    folds: Sequence[Fold],
    present: RankerConfig,
    trials: int = TRIALS,
    heard: Callable[[Attempt], None] = lambda attempt: None,
) -> list[Attempt]:
    """Try settings on all folds, the present ones first; the attempts, best first, pruned last.

    Optuna draws them (TPE, Bergstra et al. 2011; median pruning), seeded by the present settings,
    so the same folds and budget give the same attempts. A fold in which nothing was redeemed says
    nothing of settings and is left out. ``heard`` gets each attempt as it ends. Raises RankerError
    if there is no other fold, or the first has nothing to learn from.
    """
    import optuna

    known = [replace(one, train=informative(one.train)) for one in folds if one.test.label.any()]
    if not known:
        raise RankerError(
            f"Expected redemptions to test on, got none in {len(folds)} folds: search on a longer "
            "period."
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=present.seed, n_startup_trials=STARTUP),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
    )
    study.enqueue_trial({name: getattr(present, name) for name in _SPACE})
    attempts = []
    for _ in range(trials):
        attempts.append(_attempt(study, known, present))
        heard(attempts[-1])
    return sorted(attempts, key=lambda one: (one.pruned, -one.value, one.number))


def _attempt(study: "Study", folds: Sequence[Fold], present: RankerConfig) -> Attempt:
    from optuna.trial import TrialState

    trial = study.ask()
    drawn = {name: draw(trial, name) for name, draw in _SPACE.items()}
    config, values = replace(present, **drawn), []
    for number, fold in enumerate(folds):
        values.append(_ranked(fold, config))
        trial.report(group_metrics.mean(np.concatenate(values)), number)
        if number + 1 < len(folds) and trial.should_prune():
            break
    value = group_metrics.mean(np.concatenate(values))
    pruned = len(values) < len(folds)
    study.tell(trial, None if pruned else value, TrialState.PRUNED if pruned else None)
    log.info("attempt %d: %.4f after %d folds", trial.number, value, len(values))
    by_fold = tuple(map(group_metrics.mean, values))
    return Attempt(trial.number, config, by_fold, value, pruned)


def _ranked(fold: Fold, config: RankerConfig) -> np.ndarray:
    """The primary metric of every group of a fold; unknown for one without a redemption."""
    test = fold.test
    scores = predict(fit([fold.train], config), test.inputs)
    ranking = group_metrics.ranked(test.qid, test.coupon_id, test.label, scores)
    return group_metrics.ndcg(ranking, PRIMARY_CUTOFF)


def _one_of(*choices: str) -> Callable[["Trial", str], str]:
    return lambda trial, name: trial.suggest_categorical(name, choices)


def _whole(low: int, high: int, step: int = 1) -> Callable[["Trial", str], int]:
    return lambda trial, name: trial.suggest_int(name, low, high, step=step)


def _real(low: float, high: float, log: bool = False) -> Callable[["Trial", str], float]:
    return lambda trial, name: trial.suggest_float(name, low, high, log=log)


_SPACE: dict[str, Callable[["Trial", str], object]] = {
    "objective": _one_of("rank:ndcg", "rank:pairwise"),
    "n_estimators": _whole(50, 400, 50),
    "max_depth": _whole(2, 5),
    "learning_rate": _real(0.01, 0.1, log=True),
    "min_child_weight": _real(1.0, 20.0, log=True),
    "subsample": _real(0.5, 1.0),
    "colsample_bytree": _real(0.2, 1.0),
    "reg_lambda": _real(1.0, 50.0, log=True),
    "lambdarank_num_pair_per_sample": _whole(5, 30, 5),
}
"""What is searched, by the name of the setting, and how a value of it is drawn."""
