"""Gate: measure a registered version as the service would load it, decide, and keep why."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prefect import flow

from feature_repo.names import GATE_FAILED, GATE_PASSED, GATE_TAG, VERDICT_TAG
from flows.champion import present_champion, registry, tracking
from flows.experiment_data import ExperimentData, experiment_data_of
from flows.runtime import git_commit, prepare_environment, step
from flows.version_report import write_report
from serving.models.mlflow_registry import load_ranker
from serving.models.registered_version import RegisteredVersion
from training.data.frame import RankingFrame, frame_problem
from training.evaluation.compare import (
    CHAMPION,
    PRIMARY,
    RANKER,
    Evaluation,
    compare_slices,
    evaluate,
    scores_of,
)
from training.evaluation.slices import slices
from training.registry.promotion_gate import Decision, Gate, Measured, decide
from training.registry.records import Judgment

GATE = Gate()
"""What every version has to reach."""

CANDIDATES, REPEATS = 100, 50
"""So many candidates are scored so often; the median time is the latency."""


@dataclass(frozen=True)
class Judged:
    """The gate's word on a version, the metrics of every model, and the reviewer's page."""

    version: str
    evaluation: Evaluation
    decision: Decision
    report: Path


@flow(name="gate", persist_result=False)
def repeat_gate(version: str) -> Judged:
    """Measure a version again, on the lake version and the test exposures it was made with.

    It is held against the present champion; the champion itself against the one it was held
    against before.
    """
    home = prepare_environment()
    origin = tracking(home).origin(version)
    trial = experiment_data_of(home, origin.lake_version, origin.test_start, origin.seed)
    expected = step(run_scores)(home, version, trial.test)
    return step(judge)(home, version, trial, expected)


def run_scores(home: Path, version: str, test: RankingFrame) -> np.ndarray:
    """What the version's run scored the test pairs; unknown if those were other pairs."""
    scores = scores_of(tracking(home).predictions(version), test)
    return scores.get(RANKER, np.full(len(test), np.nan))


def judge(
    home: Path, version: str, trial: ExperimentData, expected: np.ndarray, gate: Gate = GATE
) -> Judged:
    """Load a version from the registry, measure and decide, and keep the decision with it.

    ``expected`` is what its run scored the test pairs.
    """
    registered = registry(home).read(version)
    opponent = _opponent(home, registered)
    found, measured, scores = measure(home, registered, trial, expected, opponent)
    decision = decide(gate, measured)
    artifact = _artifact(registered, trial, opponent, gate, measured, decision)
    written = write_report(home, registered, trial, found, measured.slices, decision, scores)
    judgment = Judgment(found.table, decision, artifact, (written.page,), written.figures)
    tracking(home).judge(version, judgment)
    return Judged(version, found, decision, written.page)


def measure(
    home: Path,
    registered: RegisteredVersion,
    trial: ExperimentData,
    expected: np.ndarray,
    opponent: str | None,
) -> tuple[Evaluation, Measured, dict[str, np.ndarray]]:
    """All that the gate decides on, by the scores of the model that would serve, and the test
    scores of that model, the plain rules and the champion."""
    ranker, test = load_ranker(registered), trial.test
    scores = ranker.score(test.inputs)
    champion = None
    if opponent is not None:
        champion = load_ranker(registry(home).read(opponent)).score(test.inputs)
    found = evaluate(test, scores, trial.rules, champion)
    best = found.against_rule.other
    replaced = (best, trial.rules[best]) if champion is None else (CHAMPION, champion)
    measured = Measured(
        metric=PRIMARY,
        against_rule=found.against_rule,
        against_champion=found.against_champion,
        slices=compare_slices(test, scores, *replaced, slices(test, trial.campaign_types)),
        frame_problem=frame_problem(trial.frame),
        differing=differing(scores, expected),
        pairs=len(test),
        latency=latency(ranker.score, test.inputs),
    )
    theirs = {} if champion is None else {CHAMPION: champion}
    return found, measured, {RANKER: scores, **trial.rules, **theirs}


def differing(scores: np.ndarray, expected: np.ndarray) -> int:
    """How many scores are not, bit for bit in float32, the expected ones."""
    bits = (np.asarray(values, np.float32).view(np.uint32) for values in (scores, expected))
    return int(np.not_equal(*bits).sum())


def latency(
    score: Callable[[np.ndarray], np.ndarray],
    inputs: np.ndarray,
    timer: Callable[[], float] = time.perf_counter,
) -> float:
    """The median time of scoring 100 candidates, in milliseconds; fewer rows are repeated."""
    rows = np.resize(inputs, (CANDIDATES, inputs.shape[1]))
    took = []
    for _ in range(REPEATS):
        begun = timer()
        score(rows)
        took.append(timer() - begun)
    return 1000 * statistics.median(took)


def _opponent(home: Path, registered: RegisteredVersion) -> str | None:
    """The champion to hold a version against: the present one, unless that is the version itself.

    Then it is the one that it was held against when it was not champion yet.
    """
    champion = present_champion(home)
    if champion != registered.version:
        return champion
    return (registered.gate or {}).get(CHAMPION)


def _artifact(
    registered: RegisteredVersion,
    trial: ExperimentData,
    opponent: str | None,
    gate: Gate,
    measured: Measured,
    decision: Decision,
) -> dict[str, Any]:
    """What was decided on what, and of which model file."""
    return {
        "version": registered.version,
        "sha256": registered.sha256,
        GATE_TAG: GATE_PASSED if decision.passed else GATE_FAILED,
        VERDICT_TAG: decision.verdict,
        "reasons": [asdict(check) for check in decision.checks],
        CHAMPION: opponent,
        "lake_version": trial.state.number,
        "watermark": trial.state.watermark.isoformat(),
        "test_start": trial.test_start.isoformat(),
        "git_commit": git_commit(),
        "settings": asdict(gate),
        "measured": asdict(measured),
    }
