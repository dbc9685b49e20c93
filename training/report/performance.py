"""The sections on performance: months and campaigns, learning curve, slices."""

from collections.abc import Sequence
from html import escape

from training.evaluation.breadth import breadth
from training.evaluation.compare import CHAMPION, PRIMARY, Comparison, SliceComparison
from training.evaluation.slices import BROAD, COLD, FIRST_MONTH_DAYS, HEAVY
from training.registry.promotion_gate import Gate
from training.report import figures
from training.report.contents import NOT_MEASURED, THIS_VERSION, Report
from training.report.figures import DIFFERENCE, Interval
from training.report.html import details, figure, note, paragraph, section, table
from training.report.leaderboard import difference_cells
from training.report.svg import Collect, Picture
from training.studies.learning_curve import Point

LEAST_GROUPS = Gate().least_slice_groups


def broad(report: Report, collect: Collect) -> str:
    """Builds the section with every month and campaign, and the start of campaigns."""
    rule = report.evaluation.against_rule.other
    other = rule.replace("_", " ")
    judged = [one for one in report.broad if one.groups >= LEAST_GROUPS]
    lines = _lines(judged)
    about = (
        f"The gate fails if this version is worse than {other} in a month or a campaign with at "
        f"least {LEAST_GROUPS} visits with an order. A visit belongs to the campaign of most of "
        "its redeemed coupons. Right of the zero line, this version is better."
    )
    body = [paragraph(breadth(rule, report.broad, LEAST_GROUPS).sentences), paragraph(about)]
    if lines:
        below = ", ".join(line.label for line in lines if line.high < 0) or "none"
        text = (
            f"Difference in NDCG@10 between this version and {other} in {len(lines)} months and "
            f"campaigns, with 95% intervals. Intervals that lie below zero: {below}."
        )
        body.append(figure(collect(figures.intervals("broad", text, lines, DIFFERENCE))))
    rows = [*report.broad, *([report.cold_start] if report.cold_start else [])]
    return section(
        "broad",
        "Is it better in every month and campaign?",
        *body,
        _slice_table(rows, other),
        *_cold_start(report),
        _later(report),
        paragraph(report.evaluation.without_order.sentence),
        note(
            "A visit with one candidate, without a redemption or with all candidates redeemed has "
            "no order. Every ranking of it is equally good, so it does not count."
        ),
    )


def _cold_start(report: Report) -> list[str]:
    if report.cold_start is None:
        return []
    return [
        note(
            "The start of a campaign is a case of its own: one list for each exposure, and a "
            "redemption at any later time counts. No redemption of the campaign is known yet."
        )
    ]


def _later(report: Report) -> str:
    found = report.evaluation.later
    if found is None:
        return note("No visit has an order if later redemptions count as well.")
    return paragraph(
        "As a check, redemptions at the visit or later count as relevant. Then NDCG@10 of this "
        f"version is {found.ranker_value:.3f}, and of {found.other.replace('_', ' ')} "
        f"{found.other_value:.3f}. The difference is {found.difference:+.3f} ({found.low:+.3f} to "
        f"{found.high:+.3f}) over {found.groups:,} visits."
    )


def _lines(found: Sequence[SliceComparison]) -> list[Interval]:
    return [
        Interval(
            f"{one.slicing}: {one.part} ({one.groups:,})",
            one.against.difference,
            one.against.low,
            one.against.high,
        )
        for one in found
        if one.against is not None
    ]


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
    others = [one for one in report.slices if one.slicing not in BROAD]
    lines = _lines(others)
    below = ", ".join(line.label for line in lines if line.high < 0) or "none"
    text = (
        f"Difference in NDCG@10 between this version and {other} on {len(lines)} slices, with 95% "
        f"intervals. Intervals that lie below zero: {below}."
    )
    about = (
        f"This version is compared with {other} on slices of the test. Right of the zero line, it "
        "is better. The number in brackets counts the visits with an order. A campaign is in its "
        f"first month for {FIRST_MONTH_DAYS} days. A household is cold with fewer than {COLD} "
        f"purchases and heavy with {HEAVY} or more. The slices of redeemed coupons count only "
        "coupons for products that the household had bought before, or had never bought."
    )
    return section(
        "slices",
        "Where is it better, and where worse?",
        paragraph(about),
        figure(collect(figures.intervals("slices", text, lines, DIFFERENCE))),
        details("All numbers", _slice_table(others, other)),
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
    head = ["slice", "visits", THIS_VERSION, escape(other), "difference", "95% interval"]
    return table(head, rows)


def _values(against: Comparison | None) -> tuple[str, str]:
    if against is None:
        return "", ""
    return f"{against.ranker_value:.3f}", f"{against.other_value:.3f}"
