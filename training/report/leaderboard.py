"""The section on all measured models: the leaderboard and its tables."""

import math
from collections.abc import Sequence

from training.evaluation.compare import CHAMPION, LATER, RANKER, Comparison, LeaderboardEntry
from training.models.baselines import PLAIN_RULES
from training.report import figures
from training.report.contents import NOT_MEASURED, THIS_VERSION, Report
from training.report.figures import DIFFERENCE, Interval
from training.report.html import (
    bullets,
    details,
    display_name,
    figure,
    note,
    paragraph,
    section,
    table,
)
from training.report.svg import Collect

MAIN_METRICS = ("ndcg@10", "hit_rate@1", "hit_rate@3", "recall@10", "mrr")
ALL_METRICS = (
    "ndcg@10",
    "ndcg@5",
    "map@10",
    "mrr",
    "precision@10",
    "recall@10",
    "f1@10",
    "hit_rate@1",
    "hit_rate@3",
    "hit_rate@10",
    "coverage@10",
    LATER,
)


def leaderboard(report: Report, collect: Collect) -> str:
    """Builds the section with every measured model, best first."""
    entries = report.leaderboard
    compared = [(one.model, one.against) for one in entries if one.against is not None]
    place = [one.model for one in entries].index(RANKER) + 1
    text = (
        f"Difference in NDCG@10 between this version and {len(compared)} other models, with 95% "
        f"intervals. This version is number {place} of {len(entries)}."
    )
    lines = [
        Interval(
            model.replace("_", " "),
            against.difference,
            against.low,
            against.high,
            is_reference=model in (CHAMPION, *PLAIN_RULES),
        )
        for model, against in compared
    ]
    about = (
        f"This version is number {place} of {len(entries)} by NDCG@10. Right of the zero line, it "
        "is better than the other model. If an interval includes zero, the difference may be "
        "chance. Orange marks the plain rules and the champion, which the gate uses."
    )
    return section(
        "others",
        "Is it better than other models?",
        paragraph(about),
        figure(collect(figures.intervals("others", text, lines, DIFFERENCE))),
        _leaderboard_table(entries),
        *_left_out(report),
        note(_METHOD),
        details("All metrics", _all_metrics_table(entries)),
    )


_METHOD = (
    "All models are compared on the same visits. The 95% intervals are paired and come from a "
    "bootstrap over households. The classifiers learn from the same data as this version. The "
    "recommenders use all purchases before each third of the test. In later ndcg@10, redemptions "
    "at the visit or later count."
)


def _left_out(report: Report) -> list[str]:
    if report.learning is None:
        return [
            note(NOT_MEASURED.format("scores of the textbook recommenders and the classifiers"))
        ]
    if not report.learning.left_out:
        return []
    reasons = [f"{name}: {why}" for name, why in report.learning.left_out.items()]
    return [note("These models could not be fitted to the data:"), bullets(reasons)]


def _leaderboard_table(entries: Sequence[LeaderboardEntry]) -> str:
    best = {name: max(one.metrics[name] for one in entries) for name in MAIN_METRICS}
    rows = [
        [
            _model_name(one.model),
            *(_metric(one.metrics[name], best[name]) for name in MAIN_METRICS),
            *difference_cells(one.against),
        ]
        for one in entries
    ]
    head = ["model", *map(display_name, MAIN_METRICS), "difference", "95% interval"]
    return table(head, rows)


def _all_metrics_table(entries: Sequence[LeaderboardEntry]) -> str:
    rows = [
        [
            _model_name(one.model),
            *("" if math.isnan(v) else f"{v:.4f}" for v in (one.metrics[n] for n in ALL_METRICS)),
        ]
        for one in entries
    ]
    return table(["model", *map(display_name, ALL_METRICS)], rows)


def _model_name(model: str) -> str:
    return f"<b>{THIS_VERSION}</b>" if model == RANKER else display_name(model)


def _metric(value: float, best: float) -> str:
    if math.isnan(value):
        return ""
    return f"<b>{value:.3f}</b>" if value == best else f"{value:.3f}"


def difference_cells(against: Comparison | None) -> tuple[str, str]:
    """Returns two table cells, the difference and its interval; empty without a comparison."""
    if against is None:
        return "", ""
    return f"{against.difference:+.3f}", f"{against.low:+.3f} to {against.high:+.3f}"
