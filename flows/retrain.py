"""Retrain: a point-in-time frame, a ranker, its comparison with the plain rules, the gate."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from prefect import flow

from feature_repo.lake import State
from feature_repo.names import RANKER_SERVICE
from flows.champion import tracking
from flows.gate import judge
from flows.steps import git_commit, prepare_environment, step, tell
from flows.trial import Trial, trial_of
from training.evaluate import RANKER, Evaluation, predictions_table
from training.promotion import Decision
from training.ranker import RankerConfig, fit, predict
from training.records import Lineage, TrainingRun
from training.tracking import PREDICTIONS


@dataclass(frozen=True)
class Retrained:
    """A run's outcome: the registered version, its metrics beside the rules', the gate's word."""

    version: str
    evaluation: Evaluation
    decision: Decision
    predictions: Path
    report: Path


@flow(name="retrain", persist_result=False)
def retrain(
    lake_version: int | None = None, test_start: str | None = None, seed: int = 2017
) -> Retrained:
    """Train on what was known before ``test_start`` and register a challenger if it passes.

    ``test_start`` is by default the midnight 92 days before the watermark. The version is
    registered before the gate, which looks at what the registry gives back.
    """
    home = prepare_environment()
    trial = trial_of(home, lake_version, test_start, seed)
    config = RankerConfig(seed=seed)
    model = step(fit)([trial.train, trial.valid], config, _growing)
    scores = predict(model, trial.test.inputs)
    predictions = step(write_predictions)(home, trial, scores)
    params = asdict(config) | {"test_start": trial.test_start.isoformat()}
    run = TrainingRun(params, _lineage(trial.state), (predictions,))
    version = step(tracking(home).log)(model, run)
    judged = step(judge)(home, version, trial, scores)
    return Retrained(version, judged.evaluation, judged.decision, predictions, judged.report)


def write_predictions(home: Path, trial: Trial, scores: np.ndarray) -> Path:
    """Write the test predictions of the ranker and of the plain rules."""
    import pyarrow.parquet as pq

    file = home / "reports" / PREDICTIONS
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(predictions_table(trial.test, {RANKER: scores, **trial.rules}), file)
    return file


def _lineage(state: State) -> Lineage:
    return Lineage(state.number, state.watermark, RANKER_SERVICE, git_commit())


def _growing(done: int, total: int) -> None:
    tell("train", done, total)
