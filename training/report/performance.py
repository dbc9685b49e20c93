"""The sections on performance: leaderboard, learning curve, slices and calibration."""

import math
from collections.abc import Callable, Sequence
from html import escape

from training.evaluation.compare import (
    CHAMPION,
    PRIMARY,
    RANKER,
    Comparison,
    LeaderboardEntry,
    SliceComparison,
)
from training.evaluation.slices import COLD, HEAVY
from training.models.baselines import PLAIN_RULES
from training.report import figures
from training.report.contents import Report
from training.report.figures import Interval
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
from training.report.svg import Picture
from training.studies.learning_curve import Point

Collect = Callable[[Picture], Picture]
"""Adds a figure to the list of the page's figures, and returns it."""

THIS, AXIS = "this version", "difference in NDCG@10"

MAIN_METRICS = ("ndcg@10", "recall@10", "hit_rate@1", "mrr")
ALL_METRICS = (
    "ndcg@10",
    "ndcg@5",
    "map@10",
    "mrr",
    "precision@10",
    "recall@10",
    "f1@10",
    "hit_rate@1",
    "hit_rate@10",
    "coverage@10",
)

MISSING = (
    "The training run of this version has no {}. To see it, train again with `clipwise train`."
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
        figure(collect(figures.intervals("others", text, lines, AXIS))),
        _leaderboard_table(entries),
        *_left_out(report),
        note(_METHOD),
        details("All metrics", _all_metrics_table(entries)),
    )


_METHOD = (
    "All models are compared on the same exposures. The 95% intervals are paired and come from a "
    "bootstrap over households. The classifiers learn from the same data as this version. The "
    "recommenders use all purchases before the first campaign of each third of the test."
)


def _left_out(report: Report) -> list[str]:
    if report.learning is None:
        return [note(MISSING.format("scores of the textbook recommenders and the classifiers"))]
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
            *_difference(one.against),
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
    return f"<b>{THIS}</b>" if model == RANKER else display_name(model)


def _metric(value: float, best: float) -> str:
    if math.isnan(value):
        return ""
    return f"<b>{value:.3f}</b>" if value == best else f"{value:.3f}"


def _difference(against: Comparison | None) -> tuple[str, str]:
    if against is None:
        return "", ""
    return f"{against.difference:+.3f}", f"{against.low:+.3f} to {against.high:+.3f}"


def learning_curve(report: Report, collect: Collect) -> str:
    """Builds the section with the metric by amount of training data."""
    title = "Would more data help?"
    if report.learning is None:
        return section("curve", title, note(MISSING.format("learning curve")))
    about = (
        "These rankers have the same settings and learned from a part of the households. "
        "Households are drawn at random, twice for each part. So every part has the same weeks "
        "and campaigns, and only the amount of data differs. The line connects the means. If it "
        "still rises at the right end, more redemptions will help more than other settings."
    )
    return section("curve", title, paragraph(about), figure(collect(_curve_figure(report))))


def _curve_figure(report: Report) -> Picture:
    points: Sequence[Point] = report.learning.curve if report.learning else ()
    values = {one.model: one.metrics[PRIMARY] for one in report.leaderboard}
    rule = report.evaluation.against_rule
    levels = [(f"{rule.other.replace('_', ' ')} {rule.other_value:.3f}", rule.other_value)]
    if CHAMPION in values:
        levels.append((f"champion {values[CHAMPION]:.3f}", values[CHAMPION]))
    measured = [(one.share, one.value) for one in points if one.value is not None]
    (share, least), (_, whole) = min(measured, key=lambda one: one[0]), measured[-1]
    text = (
        f"NDCG@10 by share of the households: {least:.3f} with one {_part_name(share)}, "
        f"{whole:.3f} with all; the best plain rule has {rule.other_value:.3f}."
    )
    return figures.learning_curve("learning_curve", text, points, levels)


def _part_name(share: float) -> str:
    return {1 / 8: "eighth", 1 / 4: "quarter", 1 / 2: "half"}.get(share, f"part of {share:.0%}")


def slices(report: Report, collect: Collect) -> str:
    """Builds the section with this version against its opponent on every slice."""
    other = report.opponent.replace("_", " ")
    lines = [
        Interval(
            f"{one.slicing}: {one.part} ({one.groups:,})",
            one.against.difference,
            one.against.low,
            one.against.high,
        )
        for one in report.slices
        if one.against is not None
    ]
    below = ", ".join(line.label for line in lines if line.high < 0) or "none"
    text = (
        f"Difference in NDCG@10 between this version and {other} on {len(lines)} slices, with 95% "
        f"intervals. Intervals that lie below zero: {below}."
    )
    about = (
        f"This version is compared with {other} on slices of the test. Right of the zero line, it "
        "is better. The number in brackets counts the groups with a redeemed coupon. A household "
        f"is cold with fewer than {COLD} purchases and heavy with {HEAVY} or more. The slices of "
        "redeemed coupons count only coupons for products that the household had bought before, "
        "or had never bought."
    )
    return section(
        "slices",
        "Where is it better, and where worse?",
        paragraph(about),
        figure(collect(figures.intervals("slices", text, lines, AXIS))),
        details("All numbers", _slice_table(report.slices, other)),
    )


def _slice_table(found: Sequence[SliceComparison], other: str) -> str:
    rows = [
        [
            escape(f"{one.slicing}: {one.part}"),
            f"{one.groups:,}",
            *_values(one.against),
            *_difference(one.against),
        ]
        for one in found
    ]
    head = ["slice", "groups", THIS, escape(other), "difference", "95% interval"]
    return table(head, rows)


def _values(against: Comparison | None) -> tuple[str, str]:
    if against is None:
        return "", ""
    return f"{against.ranker_value:.3f}", f"{against.other_value:.3f}"


def calibration(report: Report, collect: Collect) -> str:
    """Builds the section on predicted probabilities against redemption rates."""
    title = "Do the scores match redemption rates?"
    found = report.calibration
    ranked = (
        f"Over all pairs of the test: area under the ROC curve {found.auc:.3f}, average precision "
        f"{found.average_precision:.3f}."
    )
    if not found.bins:
        missing = "There are too few redeemed pairs to compare the scores with redemption rates."
        return section("calibration", title, paragraph(ranked), note(missing))
    pairs, last = sum(count for *_, count in found.bins), found.bins[-1]
    text = (
        f"Share of redeemed pairs by predicted probability, in {len(found.bins)} bins with "
        f"{pairs:,} pairs in total. In the highest bin {last[0]:.2%} were predicted and "
        f"{last[1]:.2%} were redeemed."
    )
    about = (
        "The score of a ranker is not a probability. Here a logistic curve converts it to one. "
        "The curve for each half of the households is fitted on the other half. On the dashed "
        "line, pairs were redeemed as often as predicted. Bars are 95% intervals. Both axes have a "
        "square-root scale."
    )
    return section(
        "calibration",
        title,
        paragraph(about),
        figure(collect(figures.calibration("calibration", text, found.bins))),
        paragraph(ranked),
    )
