"""Gate: measures a registered version as the service loads it, decides, and stores the reasons."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prefect import flow

from feature_repo.names import (
    GATE_FAILED,
    GATE_PASSED,
    GATE_TAG,
    RANKERS,
    VERDICT_TAG,
    RankerKey,
    RankerNames,
)
from flows.champion import current_champion, registry, tracking
from flows.experiment_data import ExperimentData, load_experiment_data
from flows.runtime import as_task, git_commit, prepare_environment
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
)
from training.evaluation.predictions import scores_of
from training.evaluation.reloaded import changed_scores, median_latency
from training.evaluation.slices import BROAD, slices
from training.registry.promotion_gate import Decision, Gate, Measurements, decide
from training.registry.records import GateRecord
from training.registry.run_reader import read_origin, read_predictions
from training.registry.run_writer import record_gate

GATE = Gate()
"""The requirements for every version."""


@dataclass(frozen=True)
class GateResult:
    """The gate's decision on a version, the metrics of every model, and the reviewer's page."""

    version: str
    evaluation: Evaluation
    decision: Decision
    report: Path


@flow(name="gate", persist_result=False)
def repeat_gate(ranker: RankerKey, version: str) -> GateResult:
    """Measures a version again, on the lake version and the test visits of its training.

    The version is compared with the current champion. The champion itself is compared with the
    model that it was compared with before.
    """
    home, names = prepare_environment(), RANKERS[ranker]
    origin = read_origin(tracking(home, names), version)
    (data,) = load_experiment_data(
        home, (names,), origin.lake_version, origin.test_start, origin.seed
    )
    expected = as_task(logged_scores)(home, names, version, data.test)
    return as_task(apply_gate)(home, version, data, expected)


def logged_scores(home: Path, names: RankerNames, version: str, test: RankingFrame) -> np.ndarray:
    """Returns the test scores that the version's run logged.

    All scores are NaN if the run logged scores of other pairs.
    """
    scores = scores_of(read_predictions(tracking(home, names), version), test)
    return scores.get(RANKER, np.full(len(test), np.nan))


def apply_gate(
    home: Path,
    version: str,
    data: ExperimentData,
    expected: np.ndarray,
    gate: Gate = GATE,
) -> GateResult:
    """Loads a version from the registry, measures it, decides, and stores the decision with it.

    ``expected`` are the test scores of the version's run. Raises ModelError if the service could
    not load the version.
    """
    names = data.ranker
    registered = registry(home, names).read(version)
    opponent = _opponent(home, registered)
    found, measured, scores = measure(home, registered, data, expected, opponent)
    decision = decide(gate, measured)
    artifact = _artifact(registered, data, opponent, gate, measured, decision)
    written = write_report(home, registered, data, found, measured.slices, decision, scores)
    record = GateRecord(found.table, decision, artifact, (written.page,), written.figures)
    record_gate(tracking(home, names), version, record)
    return GateResult(version, found, decision, written.page)


def measure(
    home: Path,
    registered: RegisteredVersion,
    data: ExperimentData,
    expected: np.ndarray,
    opponent: str | None,
) -> tuple[Evaluation, Measurements, dict[str, np.ndarray]]:
    """Measures everything that the gate decides on, with the model that would serve.

    Also returns the test scores of that model, of the plain rules, and of the champion.
    """
    ranker, test = load_ranker(registered), data.test
    scores = ranker.score(test.inputs)
    champion = None
    if opponent is not None:
        champion = load_ranker(registry(home, registered.names).read(opponent)).score(test.inputs)
    found = evaluate(test, scores, data.rules, champion)
    best = found.against_rule.other
    replaced = (best, data.rules[best]) if champion is None else (CHAMPION, champion)
    slicings = slices(test, data.campaign_types, data.campaign_starts)
    broad = {name: slicings[name] for name in BROAD}
    measured = Measurements(
        metric=PRIMARY,
        against_rule=found.against_rule,
        against_champion=found.against_champion,
        without_order=found.without_order,
        rule_slices=compare_slices(test, scores, best, data.rules[best], broad),
        slices=compare_slices(test, scores, *replaced, slicings),
        frame_problem=frame_problem(data.frame),
        differing=changed_scores(scores, expected),
        pairs=len(test),
        latency=median_latency(ranker.score, test.inputs),
    )
    of_champion = {} if champion is None else {CHAMPION: champion}
    return found, measured, {RANKER: scores, **data.rules, **of_champion}


def _opponent(home: Path, registered: RegisteredVersion) -> str | None:
    """Returns the version to compare with: the current champion, or None without one.

    For the champion itself it is the opponent in its stored gate artifact.
    """
    champion = current_champion(home, registered.names)
    if champion != registered.version:
        return champion
    return (registered.gate or {}).get(CHAMPION)


def _artifact(
    registered: RegisteredVersion,
    data: ExperimentData,
    opponent: str | None,
    gate: Gate,
    measured: Measurements,
    decision: Decision,
) -> dict[str, Any]:
    """Builds gate.json: the decision, its inputs, and the SHA-256 of the model file."""
    return {
        "model": registered.names.model,
        "version": registered.version,
        "sha256": registered.sha256,
        GATE_TAG: GATE_PASSED if decision.passed else GATE_FAILED,
        VERDICT_TAG: decision.verdict,
        "reasons": [asdict(check) for check in decision.checks],
        CHAMPION: opponent,
        "lake_version": data.state.number,
        "watermark": data.state.watermark.isoformat(),
        "test_start": data.test_start.isoformat(),
        "git_commit": git_commit(),
        "settings": asdict(gate),
        "measured": asdict(measured),
    }
