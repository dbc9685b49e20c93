"""The section on fairness: gaps in quality between groups of households."""

from collections.abc import Sequence
from html import escape

from training.evaluation.fairness import Gap
from training.registry.promotion_gate import Gate
from training.report import figures
from training.report.contents import THIS_VERSION, Report
from training.report.figures import Interval
from training.report.html import figure, note, paragraph, section, table
from training.report.svg import Collect

LEAST_GROUPS = Gate().least_slice_groups


def fairness(report: Report, collect: Collect) -> str:
    """Builds the section with the gaps of this version and of its opponent."""
    title, other = "Is it fair to all households?", report.opponent.replace("_", " ")
    if not report.gaps:
        missing = (
            "The test has no two demographic groups that both have visits with an order, so no gap "
            "can be measured."
        )
        return section("fairness", title, note(missing))
    about = (
        "A gap is the NDCG@10 of one group of households minus that of another. It can come from "
        "different purchases rather than from the model. So compare the blue gap of this version "
        f"with the orange gap of {other}. The question is whether this version widens the gap."
    )
    gaps = "; ".join(f"{gap.slicing} {_between(gap)} {gap.ranker:+.3f}" for gap in report.gaps)
    lines = [line for gap in report.gaps for line in _lines(gap, other)]
    picture = figures.intervals("fairness", f"Gaps in NDCG@10: {gaps}.", lines, "gap in NDCG@10")
    return section(
        "fairness",
        title,
        paragraph(about),
        figure(collect(picture)),
        paragraph(_conclusion(report.gaps, other)),
        _gap_table(report.gaps, other),
        note(
            "Households without a known value are in neither group. A gap is judged only if both "
            f"groups have at least {LEAST_GROUPS} visits with an order."
        ),
    )


def _conclusion(gaps: Sequence[Gap], other: str) -> str:
    judged = [gap for gap in gaps if min(gap.groups) >= LEAST_GROUPS]
    if not judged:
        return f"There are too few visits to judge whether a gap differs from that of {other}."
    different = [
        f"{gap.slicing} ({gap.widened:+.3f} for {_between(gap)})"
        for gap in judged
        if gap.widened_interval[0] > 0 or gap.widened_interval[1] < 0
    ]
    if not different:
        return f"No gap differs from that of {other} with 95% confidence."
    return f"With 95% confidence the gap differs from that of {other} in: {', '.join(different)}."


def _between(gap: Gap) -> str:
    return f"{gap.parts[0]} minus {gap.parts[1]}"


def _lines(gap: Gap, other: str) -> tuple[Interval, Interval]:
    label = f"{gap.slicing}: {gap.parts[0]}\nminus {gap.parts[1]}"
    return (
        Interval(label, gap.ranker, *gap.ranker_interval),
        Interval(f"the same gap of {other}", gap.other, *gap.other_interval, is_reference=True),
    )


def _gap_table(gaps: Sequence[Gap], other: str) -> str:
    head = ["gap", "visits", THIS_VERSION, escape(other), "difference", "95% interval"]
    return table(head, [_gap_row(gap) for gap in gaps])


def _gap_row(gap: Gap) -> list[str]:
    low, high = gap.widened_interval
    return [
        escape(f"{gap.slicing}: {_between(gap)}"),
        f"{gap.groups[0]:,} / {gap.groups[1]:,}",
        f"{gap.ranker:+.3f}",
        f"{gap.other:+.3f}",
        f"{gap.widened:+.3f}",
        f"{low:+.3f} to {high:+.3f}",
    ]
