"""The sections on why: what moves the scores, worked examples, and every feature."""

from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby

from feature_repo.transforms.request.reasons import Reason
from training.evaluation.slices import COLD
from training.report import figures
from training.report.contents import ExampleCoupon, Feature, Report, WorkedExample
from training.report.html import bar, figure, folded, note, paragraph, section, table
from training.report.svg import Picture
from training.studies.examples import HIT, MISS, SHORT, WITHIN


def influence(report: Report, shown: Callable[[Picture], Picture]) -> str:
    """What moves the ranking, by input and by reason code."""
    found = report.influence
    strongest = found.strongest(figures.SWARM_INPUTS)
    told = ", ".join(
        f"{name} {found.strength[name]:.0%}{_direction(found.direction(name))}"
        for name in strongest[:5]
    )
    about = (
        "Each point is one coupon for one household (SHAP values, the base margin with its own "
        "terms). Right of the line the input moves the coupon up among the campaign's others, left "
        "of it down; red points have a high value of the input, blue ones a low value."
    )
    sampled = (
        f"From {len(found.effects):,} pairs of {found.groups:,} test exposures drawn at random. "
        "Effects are less their mean over the exposure, since what is the same for every coupon, "
        "such as how much a household spends, does not change their order."
    )
    text = f"Effects of the strongest inputs on the ranking: {told}."
    body = [paragraph(about)]
    if strongest:
        body.append(figure(shown(figures.swarm("influence", text, found))))
    body += [_codes(found.by_code), note(sampled)]
    return section("influence", "What moves the ranking", *body)


def _direction(correlation: float) -> str:
    if not abs(correlation) >= 0.2:
        return ""
    return ", more raises" if correlation > 0 else ", more lowers"


def _codes(by_code: dict[str, float]) -> str:
    used = sorted(by_code.items(), key=lambda item: -item[1])
    most = max(by_code.values(), default=0.0)
    rows = [
        [escape(code.replace("_", " ")), f"{share:.1%}", bar(share, most)]
        for code, share in used
        if share > 0
    ]
    return table(["reason code", "part of all movement", ""], rows, "bars")


_TOLD = {
    HIT: "A hit: a redeemed coupon came first.",
    MISS: f"A miss: no redeemed coupon among the first {WITHIN}.",
    SHORT: "A short history: little is known of the household.",
}


def examples(found: Sequence[WorkedExample]) -> str:
    """Real exposures with the reasons that the service would give."""
    about = (
        "Real exposures of the test, drawn at random from those that fit, with the words and the "
        "reason codes that the service answers if a request asks it to explain. The figure before "
        "a reason is what it added to the score; one below zero speaks against the coupon."
    )
    body = [_example(one) for one in found] or [note("No test exposure has a redeemed coupon.")]
    return section("examples", "Worked examples", paragraph(about), *body)


def _example(one: WorkedExample) -> str:
    fits = {
        HIT: one.first_redeemed == 1,
        MISS: one.first_redeemed > WITHIN,
        SHORT: one.purchases < COLD,
    }
    nearest = f"The nearest to a {one.kind}: a redeemed coupon came at rank {one.first_redeemed}."
    if one.kind == SHORT:
        nearest = "The shortest history of those that are left."
    title = _TOLD[one.kind] if fits[one.kind] else nearest
    facts = (
        f"Household {one.user_id}, campaign {one.campaign_id}, {one.when:%d %b %Y}: "
        f"{one.candidates:,} coupons to order, {one.purchases:,} purchases known before."
    )
    shown = "".join(_coupon(coupon) for coupon in one.coupons)
    return (
        f'<div class="example"><h3>{escape(title)}</h3>{paragraph(facts)}'
        f'<ol class="coupons">{shown}</ol></div>'
    )


def _coupon(coupon: ExampleCoupon) -> str:
    redeemed = ' <span class="redeemed">✓ redeemed</span>' if coupon.redeemed else ""
    reasons = "".join(map(_reason, coupon.reasons)) or "<li>Nothing sets it apart.</li>"
    about = f"coupon {coupon.coupon_id}, score {coupon.score:.2f}"
    return (
        f'<li><span class="rank">#{coupon.rank}</span><div><div class="name">{escape(coupon.name)} '
        f"<small>{escape(about)}</small>{redeemed}</div>"
        f'<ul class="why">{reasons}</ul></div></li>'
    )


def _reason(reason: Reason) -> str:
    kind = ' class="against"' if reason.effect < 0 else ""
    told = f"{escape(reason.text)} <code>{escape(reason.code)}</code>"
    return f"<li{kind}><b>{reason.effect:+.2f}</b><span>{told}</span></li>"


def features(found: Sequence[Feature]) -> str:
    """Every input with where it comes from and what the model makes of it."""
    used = [one for one in found if one.influence > 0]
    about = (
        f"{len(found)} inputs, {len(used)} of which move the ranking. Each is a field of a Feast "
        "view, read strictly before the exposure, or is derived at request time from several, by "
        "the function that the service calls as well."
    )
    ordered = sorted(found, key=lambda one: one.view)
    body = [
        folded(f"{view}: {_count(own)}", _feature_table(own))
        for view, group in groupby(ordered, key=lambda one: one.view)
        for own in [sorted(group, key=lambda one: (-one.influence, one.name))]
    ]
    return section("features", "Features and where they come from", paragraph(about), *body)


def _count(own: Sequence[Feature]) -> str:
    share = sum(one.influence for one in own)
    return f"{len(own)} input{'s' if len(own) > 1 else ''}, {share:.1%} of all movement"


def _feature_table(own: Sequence[Feature]) -> str:
    rows = [
        [
            escape(one.name),
            escape(one.meaning),
            escape(one.code.replace("_", " ")),
            f"{one.influence:.1%}",
            f"{one.gain:.1%}",
            "rising" if one.rising else "",
        ]
        for one in own
    ]
    head = ["input", "what it is", "reason code", "movement", "gain of the trees", "constraint"]
    return table(head, rows, "features")
