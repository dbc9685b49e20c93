"""Retrain: fits rankers on a point-in-time frame, registers them, and applies the gate."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from prefect import flow

from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.names import GOLDEN_FILE, RANKERS, RankerKey, RankerNames
from flows.champion import tracking
from flows.experiment_data import ExperimentData, load_experiment_data
from flows.gate import apply_gate
from flows.runtime import as_task, git_commit, prepare_environment, report_progress
from training.data.purchase_matrix import purchases_before
from training.evaluation.compare import RANKER, Evaluation
from training.evaluation.predictions import predictions_table
from training.models.probability import fit_with_probabilities
from training.models.ranker import RankerConfig, predict
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
    """The outcome for a ranker: registered version, metrics, gate decision, predictions, report."""

    ranker: RankerNames
    version: str
    evaluation: Evaluation
    decision: Decision
    predictions: Path
    report: Path


@flow(name="retrain", persist_result=False)
def retrain(
    ranker: RankerKey | None = None,
    lake_version: int | None = None,
    test_start: str | None = None,
    seed: int = 2017,
) -> tuple[Retrained, ...]:
    """Trains on the data before ``test_start``, registers a version, and applies the gate.

    By default all rankers are trained, in turn. ``test_start`` is by default the midnight eight
    weeks before the watermark: the gate measures on the newest weeks.
    """
    home = prepare_environment()
    wanted = tuple(RANKERS.values()) if ranker is None else (RANKERS[ranker],)
    found = load_experiment_data(home, wanted, lake_version, test_start, seed)
    return tuple(train_ranker(home, data, seed) for data in found)


def train_ranker(home: Path, data: ExperimentData, seed: int) -> Retrained:
    """Trains one ranker, registers its version, and applies the gate.

    The gate comes after the registration, because it measures the model that the registry returns.
    A version that passes becomes the challenger.
    """
    names = data.ranker
    folder, config = _reports(home, names), RankerConfig(ranker=names.key, seed=seed)
    model = as_task(fit_with_probabilities)(data.train, data.valid, config, _report_trees)
    scores = predict(model, data.test.inputs, names.key)
    baselines = as_task(fit_baselines)(home, data, config)
    learning = as_task(write_learning)(folder, data, config, scores, baselines)
    predictions = as_task(write_predictions)(folder, names.key, data, scores, baselines)
    params = asdict(config) | {"test_start": data.test_start.isoformat()}
    golden = as_task(write_golden_rows)(
        names, partial(predict, model, ranker=names.key), data.test.inputs, folder / GOLDEN_FILE
    )
    run = TrainingRun(params, _lineage(data.state, names), (predictions, learning, golden))
    version = as_task(log_run)(tracking(home, names), model, run)
    result = as_task(apply_gate)(home, version, data, scores)
    return Retrained(names, version, result.evaluation, result.decision, predictions, result.report)


def fit_baselines(home: Path, data: ExperimentData, config: RankerConfig) -> Baselines:
    """Fits the textbook recommenders and classifiers, and scores the test pairs with them."""
    # Several weeks are scored together, as of the first. So the matrix needs the coupons of the
    # later ones too.
    announced = int(data.test.as_of.max())
    return score_baselines(
        (data.train, data.valid),
        data.test,
        config,
        lambda start: purchases_before(Lake(home), data.state, start, announced),
        config.seed,
        lambda done, total: report_progress("baselines", done, total),
    )


def write_learning(
    folder: Path,
    data: ExperimentData,
    config: RankerConfig,
    scores: np.ndarray,
    baselines: Baselines,
) -> Path:
    """Measures the learning curve and writes it, with the reason for each baseline left out."""
    curve = learning_curve(
        (data.train, data.valid),
        data.test,
        config,
        scores,
        lambda done, total: report_progress("learning curve", done, total),
    )
    file = folder / LEARNING_FILE
    file.write_text(LearningRecord(curve, baselines.left_out).to_json())
    return file


def write_predictions(
    folder: Path,
    placement: str,
    data: ExperimentData,
    scores: np.ndarray,
    baselines: Baselines | None = None,
) -> Path:
    """Writes the test predictions of the ranker, the plain rules and the other baselines."""
    import pyarrow.parquet as pq

    by_model = {RANKER: scores, **data.rules} | dict(baselines.scores if baselines else {})
    file = folder / PREDICTIONS_FILE
    pq.write_table(predictions_table(placement, data.test, by_model), file, compression="zstd")
    return file


def _reports(home: Path, names: RankerNames) -> Path:
    folder = home / "reports" / names.key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lineage(state: State, names: RankerNames) -> Lineage:
    return Lineage(state.number, state.watermark, names.service, git_commit())


def _report_trees(done: int, total: int) -> None:
    report_progress("train", done, total)
