"""Tune: a search for the ranker's settings on the folds of a backtest, each attempt a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from prefect import flow

from feature_repo.lake import Lake, instant
from feature_repo.names import RANKER_SERVICE
from flows.backtest import before, microseconds
from flows.champion import tracking
from flows.steps import git_commit, prepare_environment, step, tell
from flows.trial import dataset
from training.backtest import folds
from training.ranker import RankerConfig
from training.records import Lineage
from training.search import TRIALS, Attempt, search


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
            tell("tune", attempt.number + 1, trials)

        attempts = search(tested, RankerConfig(seed=seed), trials, heard)
    return Tuned(attempts, next(one for one in attempts if one.number == 0))
