"""Tune: searches the ranker's settings on the folds of a backtest; every attempt is a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from prefect import flow

from feature_repo.instants import microseconds
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import instant
from feature_repo.names import RANKERS, RankerKey
from flows.champion import tracking
from flows.experiment_data import sampled_visits
from flows.runtime import as_task, git_commit, prepare_environment, report_progress
from training.data.frame import take
from training.models.ranker import RankerConfig
from training.registry.records import Lineage
from training.registry.run_writer import search_run
from training.studies.hyperparameters import TRIALS, Attempt, search
from training.studies.periods import folds_of_visits, monthly


@dataclass(frozen=True)
class Tuned:
    """The attempts of a search, best first; ``present`` has the settings in use."""

    attempts: Sequence[Attempt]
    present: Attempt


@flow(name="tune", persist_result=False)
def tune(
    first: str,
    until: str,
    ranker: RankerKey = "home",
    trials: int = TRIALS,
    lake_version: int | None = None,
    seed: int = 2017,
) -> Tuned:
    """Searches on the visits in ``[first, until)``, month by month, and logs attempts to MLflow.

    Later visits are not read, so they remain a fair test of the best settings. The settings take
    effect when a person writes them into training/models/ranker.py.
    """
    home, names = prepare_environment(), RANKERS[ranker]
    state = Lake(home).state(lake_version)
    visits = as_task(sampled_visits)(home, state, seed)
    start, end = microseconds(instant(first)), microseconds(instant(until))
    frame = take(visits.frame, visits.learns[ranker] & (visits.frame.as_of < end))
    tested = as_task(folds_of_visits)(frame, monthly(start, end), end)
    budget = {"first": first, "until": until, "ranker": ranker, "trials": trials, "seed": seed}
    lineage = Lineage(state.number, state.watermark, names.service, git_commit())
    with search_run(tracking(home, names), budget, lineage) as log_attempt:

        def report_attempt(attempt: Attempt) -> None:
            log_attempt(attempt)
            report_progress("tune", attempt.number + 1, trials)

        attempts = search(tested, RankerConfig(ranker=ranker, seed=seed), trials, report_attempt)
    return Tuned(attempts, next(one for one in attempts if one.number == 0))
