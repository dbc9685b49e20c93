"""Retrain: a point-in-time frame, a ranker, its comparison with the plain rules, the gate."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from prefect import flow

from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.names import GOLDEN_FILE, RANKER_SERVICE
from flows.champion import tracking
from flows.experiment_data import ExperimentData, experiment_data_of
from flows.gate import judge
from flows.runtime import git_commit, prepare_environment, report_progress, step
from training.data.frame import concatenated
from training.data.purchase_matrix import purchases_before
from training.evaluation.compare import RANKER, Evaluation, predictions_table
from training.models.ranker import RankerConfig, fit, predict
from training.registry.golden_rows import write_golden_rows
from training.registry.mlflow_runs import LEARNING, PREDICTIONS
from training.registry.promotion_gate import Decision
from training.registry.records import Learning, Lineage, TrainingRun
from training.studies.contenders import Baselines, score_baselines
from training.studies.learning_curve import learning_curve


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
    trial = experiment_data_of(home, lake_version, test_start, seed)
    config = RankerConfig(seed=seed)
    model = step(fit)([trial.train, trial.valid], config, _growing)
    scores = predict(model, trial.test.inputs)
    baselines = step(beside)(home, trial, config)
    learning = step(write_learning)(home, trial, config, scores, baselines)
    predictions = step(write_predictions)(home, trial, scores, baselines)
    params = asdict(config) | {"test_start": trial.test_start.isoformat()}
    golden = step(write_golden_rows)(
        partial(predict, model), trial.test.inputs, _reports(home) / GOLDEN_FILE
    )
    run = TrainingRun(params, _lineage(trial.state), (predictions, learning, golden))
    version = step(tracking(home).log)(model, run)
    judged = step(judge)(home, version, trial, scores)
    return Retrained(version, judged.evaluation, judged.decision, predictions, judged.report)


def beside(home: Path, trial: ExperimentData, config: RankerConfig) -> Baselines:
    """What the textbook's recommenders and classifiers score the test pairs."""
    # A run of campaigns is scored at once, so its later coupons have to be there from its start.
    announced = int(trial.test.as_of.max())
    return score_baselines(
        concatenated(trial.train, trial.valid),
        trial.test,
        config,
        lambda start: purchases_before(Lake(home), trial.state, start, announced),
        config.seed,
        lambda done, total: report_progress("baselines", done, total),
    )


def write_learning(
    home: Path,
    trial: ExperimentData,
    config: RankerConfig,
    scores: np.ndarray,
    baselines: Baselines,
) -> Path:
    """Measure the learning curve, and write it with why a baseline could not learn."""
    curve = learning_curve(
        concatenated(trial.train, trial.valid),
        trial.test,
        config,
        scores,
        lambda done, total: report_progress("learning curve", done, total),
    )
    file = _reports(home) / LEARNING
    file.write_text(Learning(curve, baselines.left_out).to_json())
    return file


def write_predictions(
    home: Path, trial: ExperimentData, scores: np.ndarray, baselines: Baselines | None = None
) -> Path:
    """Write the test predictions of the ranker, the plain rules and the other baselines."""
    import pyarrow.parquet as pq

    every = {RANKER: scores, **trial.rules} | dict(baselines.scores if baselines else {})
    file = _reports(home) / PREDICTIONS
    pq.write_table(predictions_table(trial.test, every), file, compression="zstd")
    return file


def _reports(home: Path) -> Path:
    folder = home / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lineage(state: State) -> Lineage:
    return Lineage(state.number, state.watermark, RANKER_SERVICE, git_commit())


def _growing(done: int, total: int) -> None:
    report_progress("train", done, total)
