"""Retrain: a point-in-time frame, a ranker, its comparison with the plain rules, the gate."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from prefect import flow

from feature_repo.lake import Lake, State, instant
from feature_repo.names import RANKER_SERVICE
from flows.materialize import apply
from flows.steps import git_commit, prepare_environment, step, tell, tracking_uri
from training.baselines import plain_rules
from training.dataset import build_frame, feast_reader, raw_tables
from training.evaluate import RANKER, Evaluation, evaluate, predictions_table
from training.frame import RankingFrame, check_frame
from training.promotion import Decision, Gate, decide
from training.ranker import RankerConfig, fit, importance, predict
from training.report import Report, part, render
from training.split import TimeSplit, split
from training.tracking import Lineage, Tracking, TrainingRun

TEST_DAYS = 92
"""The test holds the exposures of the last quarter before the watermark."""


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

    ``test_start`` is by default the midnight 92 days before the watermark.
    """
    home = prepare_environment()
    state = Lake(home).state(lake_version)
    starting = instant(test_start) if test_start else _quarter_before(state.watermark)
    frame = step(dataset)(home, state)
    train, valid, test = step(split)(frame, TimeSplit.before(starting))
    config = RankerConfig(seed=seed)
    model = step(fit)([train, valid], config, _growing)
    champion = step(champion_scores)(home, test)
    scores = {RANKER: predict(model, test.inputs), **plain_rules(test, seed)}
    measured = step(measure)(test, scores, champion)
    decision = decide(Gate(), measured)
    parts = [part(*one) for one in (("train", train), ("valid", valid), ("test", test))]
    files = step(write_reports)(home, state, test, scores, measured, decision, parts, model)
    params = asdict(config) | {"test_start": starting.isoformat()}
    run = TrainingRun(params, measured.table, _lineage(state), decision, files)
    version = step(_tracking(home).log)(model, run)
    return Retrained(version, measured, decision, *files)


def dataset(home: Path, state: State) -> RankingFrame:
    """The training frame of one state of the lake, checked."""
    store = apply()
    store.config.offline_store.lake_version = state.number
    raw = raw_tables(Lake(home), state)
    frame = build_frame(raw, feast_reader(store), lambda done, total: tell("frame", done, total))
    check_frame(frame)
    return frame


def champion_scores(home: Path, test: RankingFrame):
    """The champion's scores of the test pairs, or None while there is no champion."""
    tracking = _tracking(home)
    version = tracking.champion()
    return None if version is None else predict(tracking.load(version), test.inputs)


def measure(test: RankingFrame, scores: dict, champion) -> Evaluation:
    """The ranker beside the plain rules and the champion on the same groups."""
    rules = {name: values for name, values in scores.items() if name != RANKER}
    return evaluate(test, scores[RANKER], rules, champion)


def write_reports(
    home: Path, state: State, test, scores, measured, decision, parts, model
) -> tuple[Path, Path]:
    """Write the test predictions of all models and the reviewer's page."""
    import pyarrow.parquet as pq

    folder = home / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    predictions, page = folder / "predictions.parquet", folder / "training_report.html"
    pq.write_table(predictions_table(test, scores), predictions)
    lineage = _lineage(state)
    facts = {
        "Feature service": lineage.feature_service,
        "Lake version": f"{state.number}, complete up to {state.watermark.isoformat()}",
        "Source": state.source,
        "Commit": lineage.git_commit or "not in a checkout",
    }
    report = Report("Coupon ranker", facts, parts, measured, decision, importance(model))
    page.write_text(render(report), encoding="utf-8")
    return predictions, page


def _lineage(state: State) -> Lineage:
    return Lineage(state.number, state.watermark, RANKER_SERVICE, git_commit())


def _tracking(home: Path) -> Tracking:
    return Tracking(tracking_uri(home), home / "mlartifacts")


def _quarter_before(watermark: datetime) -> datetime:
    start = watermark - timedelta(days=TEST_DAYS)
    return start.replace(hour=0, minute=0, second=0, microsecond=0)


def _growing(done: int, total: int) -> None:
    tell("train", done, total)
