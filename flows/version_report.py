"""The reviewer's page of a version: gather what it shows, and write it with its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from feature_repo.lake.coupon_scopes import CoveredProducts, covered_products
from feature_repo.lake.reader import Lake
from feature_repo.names import RANKER_SERVICE
from feature_repo.transforms.request.reasons import code_of, reasons
from flows.champion import tracking
from flows.experiment_data import ExperimentData
from flows.runtime import git_commit
from serving.models.mlflow_registry import load_ranker
from serving.models.rankers import ChampionRanker
from serving.models.registered_version import RegisteredVersion
from training.data.frame import RankingFrame, column, groups
from training.evaluation.compare import (
    CHAMPION,
    RANKER,
    Evaluation,
    SliceComparison,
    compare_slices,
    leaderboard,
    scores_of,
)
from training.evaluation.fairness import gaps
from training.evaluation.pair_metrics import calibration_bins, cross_calibrated, pair_metrics
from training.evaluation.slices import repeat_gains, slices
from training.models.ranker import importance
from training.registry.mlflow_runs import FIGURES
from training.registry.promotion_gate import Decision
from training.registry.records import Origin
from training.report.contents import (
    Calibration,
    ExampleCoupon,
    Feature,
    Report,
    WorkedExample,
    at,
    part,
)
from training.report.page import render
from training.studies.examples import Example, pick_examples
from training.studies.influence import Influence, influence

Scores = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Written:
    """The page and its figures, as files."""

    page: Path
    figures: Sequence[Path]


def write_report(
    home: Path,
    registered: RegisteredVersion,
    trial: ExperimentData,
    evaluation: Evaluation,
    sliced: Sequence[SliceComparison],
    decision: Decision,
    scores: Scores,
) -> Written:
    """Write the page of a version. ``scores`` are those of the version, of the plain rules and of
    the champion; those of the other baselines, and the learning curve, come from its run."""
    origin = tracking(home).origin(registered.version)
    kept = scores_of(tracking(home).predictions(registered.version), trial.test)
    ranker = load_ranker(registered)
    opponent = CHAMPION if CHAMPION in scores else evaluation.against_rule.other
    moved = influence(trial.test, ranker.explain, origin.seed)
    report = Report(
        title=f"Coupon ranker, version {registered.version}",
        facts=_facts(registered, trial, origin),
        settings=origin.settings,
        parts=[part(name, getattr(trial, name)) for name in ("train", "valid", "test")],
        decision=decision,
        evaluation=evaluation,
        leaderboard=leaderboard(trial.test, {**kept, **scores}, origin.seed),
        opponent=opponent,
        slices=(*sliced, *_repeats(trial.test, scores, opponent)),
        gaps=gaps(
            trial.test,
            scores[RANKER],
            scores[opponent],
            slices(trial.test, trial.campaign_types),
            origin.seed,
        ),
        calibration=_calibration(trial.test, scores[RANKER], origin.seed),
        influence=moved,
        examples=_examples(home, trial, ranker, scores[RANKER], origin.seed),
        features=_features(moved, ranker, origin.settings.get("rising", "")),
        learning=tracking(home).learning(registered.version),
    )
    return _write(home / "reports", report)


def _write(folder: Path, report: Report) -> Written:
    rendered = render(report)
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    page = folder / "training_report.html"
    page.write_text(rendered.html, encoding="utf-8")
    files = []
    for picture in rendered.pictures:
        files.append(folder / FIGURES / f"{picture.name}.svg")
        files[-1].write_text(picture.alone(), encoding="utf-8")
    return Written(page, files)


def _facts(registered: RegisteredVersion, trial: ExperimentData, origin: Origin) -> dict[str, str]:
    state = trial.state
    return {
        "Version": f"{registered.version}, model file {registered.sha256}",
        "Feature service": RANKER_SERVICE,
        "Lake version": f"{state.number}, complete up to {state.watermark.isoformat()}",
        "Source": state.source,
        "Training window": f"{_first(trial.train)} to {trial.test_start.isoformat()}",
        "Seed": str(origin.seed),
        "Trained at commit": origin.git_commit or "not in a checkout",
        "Measured at commit": git_commit() or "not in a checkout",
    }


def _first(train: RankingFrame) -> str:
    return at(train.as_of.min()).isoformat()


def _repeats(test: RankingFrame, scores: Scores, opponent: str) -> list[SliceComparison]:
    """Both models where only coupons for what a user bought before, or never, are gains."""
    found = []
    for kind, label in repeat_gains(test).items():
        part_of = {"redeemed coupon": np.full(len(groups(test)), kind, object)}
        pair = scores[RANKER], opponent, scores[opponent]
        found += compare_slices(replace(test, label=label), *pair, part_of)
    return found


def _calibration(test: RankingFrame, scores: np.ndarray, seed: int) -> Calibration:
    bins = calibration_bins(test.label, cross_calibrated(test.user_id, test.label, scores, seed))
    return Calibration(bins, **pair_metrics(test.label, scores))


def _examples(
    home: Path, trial: ExperimentData, ranker: ChampionRanker, scores: np.ndarray, seed: int
) -> list[WorkedExample]:
    picked = pick_examples(trial.test, scores, seed)
    return [_worked(home, trial, ranker, scores, one) for one in picked]


def _worked(
    home: Path, trial: ExperimentData, ranker: ChampionRanker, scores: np.ndarray, example: Example
) -> WorkedExample:
    test, lake = trial.test, Lake(home)
    rows = example.rows[np.array(example.ranks) - 1]
    user, when = test.user_id[rows[0]], at(test.as_of[rows[0]])
    ids = test.coupon_id[rows].tolist()
    names = covered_products(lake, trial.state, user, ids, when, most=2)
    effects = ranker.explain(test.inputs[rows]).by_input
    coupons = [
        ExampleCoupon(
            rank,
            test.coupon_id[row],
            _named(names.get(test.coupon_id[row])),
            float(scores[row]),
            bool(test.label[row] > 0),
            reasons(test.inputs[row], by_input),
        )
        for rank, row, by_input in zip(example.ranks, rows, effects, strict=True)
    ]
    bought = np.nan_to_num(column(test, "purchase_count_all")[rows[0]])
    return WorkedExample(
        example.kind,
        user,
        test.campaign_id[rows[0]],
        when,
        len(example.rows),
        int(bought),
        example.first_redeemed,
        coupons,
    )


def _named(covers: CoveredProducts | None) -> str:
    """What a coupon covers, the most bought products first."""
    if covers is None:
        return "Products without a name"
    count, names, _ = covers
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    return f"{' · '.join(names)}{more}"


def _features(found: Influence, ranker: ChampionRanker, rising: str) -> list[Feature]:
    from feature_repo.views.services import input_lineage

    lineage = input_lineage()
    gains = dict(importance(ranker.booster, len(lineage)))
    return [
        Feature(
            name,
            view,
            meaning,
            code_of(name),
            f"'{name}'" in rising,
            found.strength[name],
            gains.get(name, 0.0),
        )
        for name, (view, meaning) in lineage.items()
    ]
