"""The sections on how good it is: beside the others, with less data, by slice, fair, calibrated."""

import math
from collections.abc import Callable, Sequence
from html import escape

from training.evaluation.compare import CHAMPION, PRIMARY, RANKER, LeaderboardEntry
from training.evaluation.fairness import Gap
from training.models.baselines import PLAIN_RULES
from training.registry.promotion_gate import Gate
from training.report import figures
from training.report.contents import Report
from training.report.figures import Interval
from training.report.html import bullets, figure, folded, named, note, paragraph, section, table
from training.report.svg import Picture

Shown = Callable[[Picture], Picture]

BESIDE = ("ndcg@10", "recall@10", "hit_rate@1", "mrr")
ALL = ("ndcg@10", "ndcg@5", "map@10", "mrr", "precision@10", "recall@10", "f1@10")
ALL += ("hit_rate@1", "hit_rate@10", "coverage@10")

LEAST_GROUPS = Gate().least_slice_groups

NOT_KEPT = (
    "The run that trained this version kept no {}: train it again with `clipwise train` to see it."
)


def others(report: Report, shown: Shown) -> str:
    """Every model that was measured, best first."""
    beside = [one for one in report.leaderboard if one.against is not None]
    lines = [
        Interval(
            one.model.replace("_", " "),
            one.against.difference,
            one.against.low,
            one.against.high,
            one.model in (CHAMPION, *PLAIN_RULES),
        )
        for one in beside
    ]
    place = [one.model for one in report.leaderboard].index(RANKER) + 1
    text = (
        f"NDCG@10 of the ranker less that of {len(beside)} other models with 95% intervals. The "
        f"ranker is number {place} of {len(report.leaderboard)}."
    )
    drawn = figures.intervals("others", text, lines, "NDCG@10 of the ranker less the other's")
    about = (
        f"Number {place} of {len(report.leaderboard)} by NDCG@10. Right of the line the ranker is "
        "better; an interval that touches the line may be chance. Orange is what the gate asks "
        "about: the plain rules and the champion."
    )
    body = [paragraph(about), figure(shown(drawn)), _leaderboard(report.leaderboard)]
    if report.learning is None:
        body.append(note(NOT_KEPT.format("scores of the textbook's recommenders and classifiers")))
    elif report.learning.left_out:
        left = (f"{name}: {why}" for name, why in report.learning.left_out.items())
        body += [note("These could not learn from the data:"), bullets([*left])]
    body.append(note(_HOW))
    body.append(folded("All metrics", _all_metrics(report.leaderboard)))
    return section("others", "Beside everything else", *body)


_HOW = (
    "Differences are on the same exposures, with paired 95% intervals by bootstrap over "
    "households. Classifiers learn from what the ranker learned from. Recommenders know "
    "everybody's purchases before the first campaign of each third of the test."
)


def _leaderboard(leaderboard: Sequence[LeaderboardEntry]) -> str:
    best = {name: max(one.metrics[name] for one in leaderboard) for name in BESIDE}
    rows = [
        [
            f"<b>{named(one.model)}</b>" if one.model == RANKER else named(one.model),
            *(_value(one.metrics[name], best[name]) for name in BESIDE),
            "" if one.against is None else f"{one.against.difference:+.3f}",
            "" if one.against is None else f"{one.against.low:+.3f} to {one.against.high:+.3f}",
        ]
        for one in leaderboard
    ]
    return table(["", *map(named, BESIDE), "ranker less it", "95% interval"], rows)


def _value(value: float, best: float) -> str:
    if math.isnan(value):
        return ""
    return f"<b>{value:.3f}</b>" if value == best else f"{value:.3f}"


def _all_metrics(leaderboard: Sequence[LeaderboardEntry]) -> str:
    rows = [
        [
            named(one.model),
            *("" if math.isnan(v) else f"{v:.4f}" for v in map(one.metrics.get, ALL)),
        ]
        for one in leaderboard
    ]
    return table(["", *map(named, ALL)], rows)


def curve(report: Report, shown: Shown) -> str:
    """What less data would have given, beside the rule."""
    title = "Would more data help?"
    if report.learning is None:
        return section("curve", title, note(NOT_KEPT.format("learning curve")))
    values = {one.model: one.metrics[PRIMARY] for one in report.leaderboard}
    rule = report.evaluation.against_rule
    levels = [(f"{rule.other.replace('_', ' ')} {rule.other_value:.3f}", rule.other_value)]
    if CHAMPION in values:
        levels.append((f"champion {values[CHAMPION]:.3f}", values[CHAMPION]))
    measured = [one for one in report.learning.curve if one.value is not None]
    small, whole = min(measured, key=lambda one: one.share), measured[-1]
    text = (
        f"NDCG@10 by the share of households learned from: {small.value:.3f} with one "
        f"{_part(small.share)}, {whole.value:.3f} with all; the best plain rule has "
        f"{rule.other_value:.3f}."
    )
    about = (
        "The same ranker, learned from a part of the households. They are drawn at random, twice "
        "each, so that every part sees the same weeks and campaigns and only the amount "
        "differs; the line joins the means. While it still rises at the right end, more "
        "redemptions will help more than other settings."
    )
    return section(
        "curve",
        title,
        paragraph(about),
        figure(
            shown(figures.learning_curve("learning_curve", text, report.learning.curve, levels))
        ),
    )


def _part(share: float) -> str:
    return {1 / 8: "eighth", 1 / 4: "quarter", 1 / 2: "half"}.get(share, f"part of {share:.0%}")


def slices(report: Report, shown: Shown) -> str:
    """The ranker beside what it would replace, on every part of the exposures."""
    other = report.opponent.replace("_", " ")
    known = [one for one in report.slices if one.against is not None]
    lines = [
        Interval(
            f"{one.slicing}: {one.part} ({one.groups:,})",
            one.against.difference,
            one.against.low,
            one.against.high,
        )
        for one in known
    ]
    fallen = [line.label for line in lines if line.high < 0]
    text = (
        f"NDCG@10 of the ranker less that of {other} on {len(lines)} slices, with 95% intervals; "
        f"{'none lies' if not fallen else ', '.join(fallen) + ' lie'} below zero as a whole."
    )
    about = (
        f"The ranker beside {other} on parts of the test; in brackets the groups with a redeemed "
        "coupon. A household is cold below 100 known purchases and heavy from 500. For redeemed "
        "coupons, bought before and never bought count only these as gains."
    )
    rows = [
        [
            escape(f"{one.slicing}: {one.part}"),
            f"{one.groups:,}",
            *(
                ("", "", "", "")
                if one.against is None
                else (
                    f"{one.against.ranker_value:.3f}",
                    f"{one.against.other_value:.3f}",
                    f"{one.against.difference:+.3f}",
                    f"{one.against.low:+.3f} to {one.against.high:+.3f}",
                )
            ),
        ]
        for one in report.slices
    ]
    head = ["", "groups", "ranker", escape(other), "difference", "95% interval"]
    return section(
        "slices",
        "Where it is better, and where not",
        paragraph(about),
        figure(shown(figures.intervals("slices", text, lines, "difference in NDCG@10"))),
        folded("The figures", table(head, rows)),
    )


def fairness(report: Report, shown: Shown) -> str:
    """Whether some people are served better than others."""
    title = "Is it fair to everyone?"
    if not report.gaps:
        missing = (
            "No two demographic groups have a redeemed coupon in the test, so that no gap between "
            "them can be measured."
        )
        return section("fairness", title, note(missing))
    other = report.opponent.replace("_", " ")
    lines = [line for gap in report.gaps for line in _gap_lines(gap, other)]
    judged = [gap for gap in report.gaps if min(gap.groups) >= LEAST_GROUPS]
    widened = [gap for gap in judged if gap.widened_interval[0] > 0 or gap.widened_interval[1] < 0]
    told = "; ".join(
        f"{gap.slicing} {gap.parts[0]} less {gap.parts[1]} {gap.ranker:+.3f}" for gap in report.gaps
    )
    about = (
        "How much better the coupons are ordered for one group of households than for another. A "
        "gap can come from what people buy rather than from the model, so the blue one is to be "
        f"read beside the orange one of {other}: the question is whether the model widens it."
    )
    rows = [_gap_row(gap) for gap in report.gaps]
    head = [
        "",
        "groups",
        "ranker",
        escape(other),
        "difference",
        "95% interval",
    ]
    drawn = figures.intervals("fairness", f"Gaps in NDCG@10: {told}.", lines, "gap in NDCG@10")
    said = f"No gap differs from that of {other} beyond chance."
    if widened:
        said = f"Beyond chance it differs from that of {other} in: {_widened(widened)}."
    if not judged:
        said = f"Too few exposures to say whether a gap differs from that of {other}."
    return section(
        "fairness",
        title,
        paragraph(about),
        figure(shown(drawn)),
        paragraph(said),
        table(head, rows),
        note(
            "Households of whom nothing is known are in neither group. A gap is judged where both "
            f"groups have at least {LEAST_GROUPS} exposures with a redeemed coupon."
        ),
    )


def _widened(gaps: Sequence[Gap]) -> str:
    return ", ".join(
        f"{gap.slicing} ({gap.widened:+.3f} for {gap.parts[0]} beside {gap.parts[1]})"
        for gap in gaps
    )


def _gap_lines(gap: Gap, other: str) -> tuple[Interval, Interval]:
    between = f"{gap.slicing}: {gap.parts[0]}\nless {gap.parts[1]}"
    return (
        Interval(between, gap.ranker, *gap.ranker_interval),
        Interval(f"the same, {other}", gap.other, *gap.other_interval, rival=True),
    )


def _gap_row(gap: Gap) -> list[str]:
    low, high = gap.widened_interval
    return [
        escape(f"{gap.slicing}: {gap.parts[0]} less {gap.parts[1]}"),
        f"{gap.groups[0]:,} / {gap.groups[1]:,}",
        f"{gap.ranker:+.3f}",
        f"{gap.other:+.3f}",
        f"{gap.widened:+.3f}",
        f"{low:+.3f} to {high:+.3f}",
    ]


def calibrated(report: Report, shown: Shown) -> str:
    """Whether a score stands for one chance of redemption."""
    title = "Do scores stand for chances?"
    found = report.calibration
    pairs = sum(count for *_, count in found.bins)
    ranked = (
        f"Over all pairs, redeemed or not: area under the ROC curve {found.auc:.3f}, average "
        f"precision {found.average_precision:.3f}."
    )
    if not found.bins:
        missing = "Too few redeemed pairs to say how often a score is redeemed."
        return section("calibration", title, paragraph(ranked), note(missing))
    last = found.bins[-1]
    text = (
        f"Redeemed share beside the probability from the score, in {len(found.bins)} bins of "
        f"{pairs:,} pairs; in the highest bin {last[0]:.2%} expected and {last[1]:.2%} redeemed."
    )
    about = (
        "A ranker's score is no probability. A logistic curve makes it one: for each half of the "
        "households, learned from the other half. On the dashed line pairs were redeemed as often "
        "as the score says; bars are 95% intervals, both axes are square roots."
    )
    return section(
        "calibration",
        title,
        paragraph(about),
        figure(shown(figures.calibration("calibration", text, found.bins))),
        paragraph(ranked),
    )
