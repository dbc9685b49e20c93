"""Tune: a search for the ranker's settings on the folds of a backtest, each attempt a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from prefect import flow

from feature_repo.lake.reader import Lake
from feature_repo.lake.state import instant
from feature_repo.names import RANKER_SERVICE
from flows.backtest import before, microseconds
from flows.champion import tracking
from flows.experiment_data import dataset
from flows.runtime import git_commit, prepare_environment, report_progress, step
from training.models.ranker import RankerConfig
from training.registry.records import Lineage
from training.studies.backtest import folds
from training.studies.hyperparameters import TRIALS, Attempt, search


@dataclass(frozen=True)
class Tuned:
    """What a search tried, best first; ``present`` is the attempt of the settings in use."""

    attempts: Sequence[Attempt]
    present: Attempt


@flow(name="tune", persist_result=False)
def tune(
    first: str,
    until: str,
    trials: int = TRIALS,
    lake_version: int | None = None,
    seed: int = 2017,
) -> Tuned:
    """Search on the campaigns that start in ``[first, until)``, and keep all attempts in MLflow.

    Nothing of a later campaign is looked at, so that the best settings can be tested there. They
    take effect when a person writes them into training/ranker.py.
    """
    home = prepare_environment()
    state = Lake(home).state(lake_version)
    frame = before(step(dataset)(home, state), until)
    tested = step(folds)(frame, microseconds(instant(first)))
    budget = {"first": first, "until": until, "trials": trials, "seed": seed}
    lineage = Lineage(state.number, state.watermark, RANKER_SERVICE, git_commit())
    with tracking(home).searching(budget, lineage) as keep:

        def heard(attempt: Attempt) -> None:
            keep(attempt)
            report_progress("tune", attempt.number + 1, trials)

        attempts = search(tested, RankerConfig(seed=seed), trials, heard)
    return Tuned(attempts, next(one for one in attempts if one.number == 0))
