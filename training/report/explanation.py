"""The sections that explain the model: influence, worked examples and features."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby

from feature_repo.transforms.request.reasons import Reason
from training.evaluation.slices import COLD
from training.report import figures
from training.report.contents import ExampleCoupon, Feature, Report, WorkedExample
from training.report.html import bar, details, figure, note, paragraph, section, table
from training.report.svg import Collect
from training.studies.examples import HIT, MISS, SHORT, WITHIN


def influence(report: Report, collect: Collect) -> str:
    """Builds the section on the inputs that change the ranking, by input and by reason code."""
    found = report.influence
    strongest = found.strongest(figures.BEESWARM_INPUTS)
    shares = ", ".join(
        f"{name} {found.strength[name]:.0%}{_direction(found.direction(name))}"
        for name in strongest[:5]
    )
    about = (
        "Each point is one coupon for one household (SHAP values, with the terms of the base "
        "margin). Right of the line, the input raises the coupon among the others of its visit. "
        "Left of it, the input lowers the coupon. Red points have a high value of the input, blue "
        "points a low value."
    )
    sampled = (
        f"Computed from {len(found.effects):,} pairs of {found.groups:,} random test visits. "
        "The mean effect over each visit is subtracted. An effect that is equal for all coupons "
        "of a visit does not change their order: for example, the household's total spend."
    )
    text = f"Effects of the strongest inputs on the ranking: {shares}."
    body = [paragraph(about)]
    if strongest:
        body.append(figure(collect(figures.beeswarm("influence", text, found))))
    body += [_codes(found.by_code), note(sampled)]
    return section("influence", "Which inputs change the ranking?", *body)


def _direction(correlation: float) -> str:
    if not abs(correlation) >= 0.2:
        return ""
    effect = "raises" if correlation > 0 else "lowers"
    return f" (a higher value {effect} the score)"


def _codes(by_code: Mapping[str, float]) -> str:
    ordered = sorted(by_code.items(), key=lambda item: -item[1])
    largest = max(by_code.values(), default=0.0)
    rows = [
        [escape(code.replace("_", " ")), f"{share:.1%}", bar(share, largest)]
        for code, share in ordered
        if share > 0
    ]
    return table(["reason code", "share of all effects", ""], rows, "bars")


_TITLES = {
    HIT: "A hit: a redeemed coupon came first.",
    MISS: f"A miss: no redeemed coupon among the first {WITHIN}.",
    SHORT: "A short history: the household has few purchases.",
}


def examples(found: Sequence[WorkedExample]) -> str:
    """Builds the section with real visits and the reasons that the service would return."""
    about = (
        "Real visits of the test, drawn at random from those that fit. They show the reasons "
        "and reason codes that the service returns on request. The number before a "
        "reason is its effect on the score. A negative number lowers the coupon's score."
    )
    body = [_example(one) for one in found] or [
        note("No test visit has redeemed and unredeemed coupons.")
    ]
    return section("examples", "Worked examples", paragraph(about), *body)


def _example(one: WorkedExample) -> str:
    fits = {
        HIT: one.first_redeemed == 1,
        MISS: one.first_redeemed > WITHIN,
        SHORT: one.purchases < COLD,
    }
    nearest = f"Nearest to a {one.kind}: the first redeemed coupon has rank {one.first_redeemed}."
    if one.kind == SHORT:
        nearest = "The shortest history among the other visits."
    title = _TITLES[one.kind] if fits[one.kind] else nearest
    facts = (
        f"Household {one.user_id}, {one.when:%d %b %Y}, {_campaigns(one.campaigns)}: "
        f"{one.candidates:,} candidate coupons, {one.purchases:,} earlier purchases."
    )
    coupons = "".join(_coupon(coupon) for coupon in one.coupons)
    return (
        f'<div class="example"><h3>{escape(title)}</h3>{paragraph(facts)}'
        f'<ol class="coupons">{coupons}</ol></div>'
    )


def _campaigns(names: Sequence[str]) -> str:
    return f"campaign{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _coupon(coupon: ExampleCoupon) -> str:
    redeemed = ' <span class="redeemed">✓ redeemed</span>' if coupon.redeemed else ""
    reasons = (
        "".join(map(_reason, coupon.reasons))
        or "<li>No input makes it differ from the other coupons.</li>"
    )
    about = f"coupon {coupon.coupon_id}, score {coupon.score:.2f}"
    return (
        f'<li><span class="rank">#{coupon.rank}</span><div><div class="name">{escape(coupon.name)} '
        f"<small>{escape(about)}</small>{redeemed}</div>"
        f'<ul class="why">{reasons}</ul></div></li>'
    )


def _reason(reason: Reason) -> str:
    kind = ' class="against"' if reason.effect < 0 else ""
    text = f"{escape(reason.text)} <code>{escape(reason.code)}</code>"
    return f"<li{kind}><b>{reason.effect:+.2f}</b><span>{text}</span></li>"


def features(found: Sequence[Feature]) -> str:
    """Builds the section with the source, meaning and weight of every input."""
    used = [one for one in found if one.influence > 0]
    about = (
        f"There are {len(found)} inputs; {len(used)} of them change the ranking. Some are fields "
        "of Feast views, read strictly before the visit. The others are computed from several "
        "fields at request time, with the same function as in the service."
    )
    ordered = sorted(found, key=lambda one: one.view)
    body = [
        details(f"{view}: {_count(own)}", _feature_table(own))
        for view, group in groupby(ordered, key=lambda one: one.view)
        for own in [sorted(group, key=lambda one: (-one.influence, one.name))]
    ]
    return section("features", "Features and their sources", paragraph(about), *body)


def _count(own: Sequence[Feature]) -> str:
    share = sum(one.influence for one in own)
    return f"{len(own)} input{'s' if len(own) > 1 else ''}, {share:.1%} of all effects"


def _feature_table(own: Sequence[Feature]) -> str:
    rows = [
        [
            escape(one.name),
            escape(one.meaning),
            escape(one.code.replace("_", " ")),
            f"{one.influence:.1%}",
            f"{one.gain:.1%}",
            "never lowers a score" if one.rising else "",
        ]
        for one in own
    ]
    head = ["input", "meaning", "reason code", "effect", "gain of the trees", "constraint"]
    return table(head, rows, "features")
