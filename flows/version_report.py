"""The reviewer's report of a version: collects its contents, and writes the page and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from feature_repo.instants import from_microseconds
from feature_repo.lake.coupon_scopes import covered_products
from feature_repo.lake.reader import Lake
from feature_repo.names import HOME
from flows.champion import tracking
from flows.experiment_data import ExperimentData
from flows.runtime import git_commit
from serving.models.mlflow_registry import load_ranker
from serving.models.rankers import ChampionRanker
from serving.models.registered_version import RegisteredVersion
from training.evaluation.compare import (
    CHAMPION,
    RANKER,
    Evaluation,
    SliceComparison,
    cold_start_row,
    compare_slices,
    leaderboard,
)
from training.evaluation.fairness import gaps
from training.evaluation.predictions import scores_of
from training.evaluation.slices import BROAD, slices
from training.models.baselines import rule_scores
from training.models.ranker import importance
from training.registry.promotion_gate import Decision
from training.registry.records import FIGURES_FOLDER, Origin
from training.registry.run_reader import read_learning, read_origin, read_predictions
from training.report.assembly import (
    checked_probabilities,
    feature_table,
    repeat_slices,
    worked_examples,
)
from training.report.contents import Report, part
from training.report.page import render
from training.studies.influence import influence

Scores = Mapping[str, np.ndarray]
"""Model to its test scores, one for each pair."""


@dataclass(frozen=True)
class Written:
    """The files of the page and of its figures."""

    page: Path
    figures: Sequence[Path]


def write_report(
    home: Path,
    registered: RegisteredVersion,
    data: ExperimentData,
    evaluation: Evaluation,
    sliced: Sequence[SliceComparison],
    decision: Decision,
    scores: Scores,
) -> Written:
    """Writes the report of a version.

    ``scores`` are those of the version, of the plain rules and of the champion. The scores of the
    other baselines and the learning curve come from the version's run.
    """
    report = contents(home, registered, data, evaluation, sliced, decision, scores)
    return _write(home / "reports" / registered.names.key, report)


def contents(
    home: Path,
    registered: RegisteredVersion,
    data: ExperimentData,
    evaluation: Evaluation,
    sliced: Sequence[SliceComparison],
    decision: Decision,
    scores: Scores,
) -> Report:
    """Collects the contents of a version's report; the arguments are those of ``write_report``."""
    from feature_repo.views.services import input_lineage

    test, store = data.test, tracking(home, registered.names)
    origin = read_origin(store, registered.version)
    logged = scores_of(read_predictions(store, registered.version), test)
    ranker, seed = load_ranker(registered), origin.seed
    opponent = CHAMPION if CHAMPION in scores else evaluation.against_rule.other
    ours, theirs = scores[RANKER], scores[opponent]
    effects, lineage = influence(test, ranker.explain, seed), input_lineage()
    gains = dict(importance(ranker.booster, len(lineage)))
    covered = partial(covered_products, Lake(home), data.state, most=2)
    slicings = slices(test, data.campaign_types, data.campaign_starts)
    rule = evaluation.against_rule.other
    broad = {name: slicings[name] for name in BROAD}
    return Report(
        ranker=registered.names.key,
        title=registered.title,
        facts=_facts(registered, data, origin),
        settings=origin.settings,
        parts=[part(name, getattr(data, name)) for name in ("train", "valid", "test")],
        decision=decision,
        evaluation=evaluation,
        leaderboard=leaderboard(test, {**logged, **scores}, seed),
        opponent=opponent,
        broad=compare_slices(test, ours, rule, scores[rule], broad, seed),
        cold_start=_cold_start(data, ranker, rule, seed),
        slices=(*sliced, *repeat_slices(test, ours, opponent, theirs)),
        gaps=gaps(test, ours, theirs, slicings, seed),
        probabilities=checked_probabilities(test, ours, ranker.calibration),
        influence=effects,
        examples=worked_examples(test, ours, ranker.explain, covered, seed),
        features=feature_table(lineage, effects.strength, gains, origin.settings.get("rising", "")),
        learning=read_learning(store, registered.version),
    )


def _cold_start(
    data: ExperimentData, ranker: ChampionRanker, rule: str, seed: int
) -> SliceComparison | None:
    """Compares with the rule at the start of campaigns, where no visit has a cart.

    None for a ranker that reads the cart, and if no campaign starts in the test.
    """
    if data.exposures is None or ranker.names is not HOME:
        return None
    theirs = rule_scores(data.exposures, ranker.names.key, seed)[rule]
    return cold_start_row(data.exposures, ranker.score(data.exposures.inputs), rule, theirs, seed)


def _facts(registered: RegisteredVersion, data: ExperimentData, origin: Origin) -> dict[str, str]:
    state, first = data.state, from_microseconds(data.train.as_of.min())
    return {
        "Version": f"{registered.version}, model file {registered.sha256}",
        "Feature service": registered.names.service,
        "Lake version": f"{state.number}, complete up to {state.watermark.isoformat()}",
        "Source": state.source,
        "Training window": f"{first.isoformat()} to {data.test_start.isoformat()}",
        "Seed": str(origin.seed),
        "Trained at commit": origin.git_commit or "not in a checkout",
        "Measured at commit": git_commit() or "not in a checkout",
    }


def _write(folder: Path, report: Report) -> Written:
    rendered = render(report)
    (folder / FIGURES_FOLDER).mkdir(parents=True, exist_ok=True)
    page = folder / "training_report.html"
    page.write_text(rendered.html, encoding="utf-8")
    figures = []
    for picture in rendered.pictures:
        file = folder / FIGURES_FOLDER / f"{picture.name}.svg"
        file.write_text(picture.standalone(), encoding="utf-8")
        figures.append(file)
    return Written(page, figures)
