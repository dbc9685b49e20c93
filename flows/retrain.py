"""Retrain: fits a ranker on a point-in-time frame, registers it, and applies the gate."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from prefect import flow

from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.names import GOLDEN_FILE, HOME, RANKER_SERVICE
from flows.champion import tracking
from flows.experiment_data import ExperimentData, load_experiment_data
from flows.gate import apply_gate
from flows.runtime import as_task, git_commit, prepare_environment, report_progress
from training.data.frame import concatenated
from training.data.purchase_matrix import purchases_before
from training.evaluation.compare import RANKER, Evaluation
from training.evaluation.predictions import predictions_table
from training.models.ranker import RankerConfig, fit, predict
from training.registry.golden_rows import write_golden_rows
from training.registry.promotion_gate import Decision
from training.registry.records import (
    LEARNING_FILE,
    PREDICTIONS_FILE,
    LearningRecord,
    Lineage,
    TrainingRun,
)
from training.registry.run_writer import log_run
from training.studies.contenders import Baselines, score_baselines
from training.studies.learning_curve import learning_curve


@dataclass(frozen=True)
class Retrained:
    """The outcome of a run: registered version, metrics, gate decision, predictions, report."""

    version: str
    evaluation: Evaluation
    decision: Decision
    predictions: Path
    report: Path


@flow(name="retrain", persist_result=False)
def retrain(
    lake_version: int | None = None, test_start: str | None = None, seed: int = 2017
) -> Retrained:
    """Trains on the data before ``test_start``, registers the version, and applies the gate.

    ``test_start`` is by default the midnight 92 days before the watermark. The gate comes after the
    registration, because it measures the model that the registry returns. A version that passes
    becomes the challenger.
    """
    home = prepare_environment()
    data = load_experiment_data(home, lake_version, test_start, seed)
    config = RankerConfig(seed=seed)
    model = as_task(fit)([data.train, data.valid], config, _report_trees)
    scores = predict(model, data.test.inputs)
    baselines = as_task(fit_baselines)(home, data, config)
    learning = as_task(write_learning)(home, data, config, scores, baselines)
    predictions = as_task(write_predictions)(home, data, scores, baselines)
    params = asdict(config) | {"test_start": data.test_start.isoformat()}
    golden = as_task(write_golden_rows)(
        partial(predict, model), data.test.inputs, _reports(home) / GOLDEN_FILE
    )
    run = TrainingRun(params, _lineage(data.state), (predictions, learning, golden))
    version = as_task(log_run)(tracking(home), model, run)
    result = as_task(apply_gate)(home, version, data, scores)
    return Retrained(version, result.evaluation, result.decision, predictions, result.report)


def fit_baselines(home: Path, data: ExperimentData, config: RankerConfig) -> Baselines:
    """Fits the textbook recommenders and classifiers, and scores the test pairs with them."""
    # Consecutive campaigns are scored together, as of the first start. So the matrix needs the
    # coupons of the later ones too.
    announced = int(data.test.as_of.max())
    return score_baselines(
        concatenated(data.train, data.valid),
        data.test,
        config,
        lambda start: purchases_before(Lake(home), data.state, start, announced),
        config.seed,
        lambda done, total: report_progress("baselines", done, total),
    )


def write_learning(
    home: Path,
    data: ExperimentData,
    config: RankerConfig,
    scores: np.ndarray,
    baselines: Baselines,
) -> Path:
    """Measures the learning curve and writes it, with the reason for each baseline left out."""
    curve = learning_curve(
        concatenated(data.train, data.valid),
        data.test,
        config,
        scores,
        lambda done, total: report_progress("learning curve", done, total),
    )
    file = _reports(home) / LEARNING_FILE
    file.write_text(LearningRecord(curve, baselines.left_out).to_json())
    return file


def write_predictions(
    home: Path, data: ExperimentData, scores: np.ndarray, baselines: Baselines | None = None
) -> Path:
    """Writes the test predictions of the ranker, the plain rules and the other baselines."""
    import pyarrow.parquet as pq

    by_model = {RANKER: scores, **data.rules} | dict(baselines.scores if baselines else {})
    file = _reports(home) / PREDICTIONS_FILE
    pq.write_table(predictions_table(HOME.key, data.test, by_model), file, compression="zstd")
    return file


def _reports(home: Path) -> Path:
    folder = home / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lineage(state: State) -> Lineage:
    return Lineage(state.number, state.watermark, RANKER_SERVICE, git_commit())


def _report_trees(done: int, total: int) -> None:
    report_progress("train", done, total)
