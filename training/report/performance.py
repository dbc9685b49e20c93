"""The sections on performance: learning curve, slices and calibration."""

from collections.abc import Sequence
from html import escape

from training.evaluation.compare import CHAMPION, PRIMARY, Comparison, SliceComparison
from training.evaluation.slices import COLD, HEAVY
from training.report import figures
from training.report.contents import NOT_MEASURED, THIS_VERSION, Report
from training.report.figures import DIFFERENCE, Interval
from training.report.html import details, figure, note, paragraph, section, table
from training.report.leaderboard import difference_cells
from training.report.svg import Collect, Picture
from training.studies.learning_curve import Point


def learning_curve(report: Report, collect: Collect) -> str:
    """Builds the section with the metric by amount of training data."""
    title = "Would more data help?"
    if report.learning is None:
        return section("curve", title, note(NOT_MEASURED.format("learning curve")))
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
        figure(collect(figures.intervals("slices", text, lines, DIFFERENCE))),
        details("All numbers", _slice_table(report.slices, other)),
    )


def _slice_table(found: Sequence[SliceComparison], other: str) -> str:
    rows = [
        [
            escape(f"{one.slicing}: {one.part}"),
            f"{one.groups:,}",
            *_values(one.against),
            *difference_cells(one.against),
        ]
        for one in found
    ]
    head = ["slice", "groups", THIS_VERSION, escape(other), "difference", "95% interval"]
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
