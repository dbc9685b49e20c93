"""The report of a version for the reviewer: one HTML file without other files."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from feature_repo.names import CHECKOUT, HOME
from training.evaluation.compare import CHAMPION, PRIMARY, RANKER, Comparison
from training.registry.promotion_gate import BETTER, NO_CHAMPION, NOT_WORSE, WORSE, Decision
from training.report import explanation, performance
from training.report.contents import Part, Report
from training.report.css import STYLE
from training.report.fairness import fairness
from training.report.html import bullets, note, pairs, paragraph, section, table
from training.report.leaderboard import leaderboard
from training.report.probability import probability
from training.report.svg import Picture

_LINKS = (
    ("others", "Other models"),
    ("broad", "Months and campaigns"),
    ("probability", "Probability"),
    ("curve", "More data"),
    ("slices", "Slices"),
    ("fairness", "Fairness"),
    ("influence", "Inputs"),
    ("examples", "Examples"),
    ("model", "Model"),
    ("data", "Data"),
    ("features", "Features"),
    ("limits", "Limits"),
)


@dataclass(frozen=True)
class Rendered:
    """The page as HTML, and its figures for separate files."""

    html: str
    pictures: Sequence[Picture]


def render(report: Report) -> Rendered:
    """Renders the page as HTML, without scripts and without links to other files."""
    pictures: list[Picture] = []

    def collect(picture: Picture) -> Picture:
        pictures.append(picture)
        return picture

    body = (
        f"<h1>{escape(report.title)}</h1>",
        paragraph(_lead(report), "lead"),
        _decision(report.decision),
        _tiles(report),
        _contents(),
        leaderboard(report, collect),
        performance.broad(report, collect),
        probability(report, collect),
        performance.learning_curve(report, collect),
        performance.slices(report, collect),
        fairness(report, collect),
        explanation.influence(report, collect),
        explanation.examples(report.examples),
        _model(report),
        section("data", "Training and test data", pairs([*report.facts.items()]), _data(report)),
        explanation.features(report.features),
        section("limits", "Known limits", bullets(report.limits)),
    )
    return Rendered(_page(report.title, "\n".join(body)), pictures)


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body><main>{body}</main></body></html>\n"
    )


def _lead(report: Report) -> str:
    test = next(one for one in report.parts if one.name == "test")
    days = [f"{day:%d %b %Y}" for day in (test.start, test.end) if day]
    when = f", {' to '.join(dict.fromkeys(days))}" if days else ""
    other = report.opponent.replace("_", " ")
    against = (
        "It is compared with the champion, which it would replace."
        if report.opponent == CHAMPION
        else f"There is no champion, so it is compared with {other}, the best plain rule here."
    )
    return (
        f"{_MOMENT[report.ranker]} Measured on {test.groups:,} visits outside of its training "
        f"data{when}; {report.evaluation.without_order.with_order:,} of them have an order. "
        f"{against}"
    )


_MOMENT = {
    HOME.key: "Orders the coupons at the start of a visit, before anything is in the cart.",
    CHECKOUT.key: "Orders the coupons at the checkout, with the products in the cart.",
}

_MARGIN = {
    HOME.key: (
        "The margin is log(own spend + 0.5) + 0.5 log(percov). Own spend is the household's spend "
        "on the covered products."
    ),
    CHECKOUT.key: (
        "Coupons that cover a product in the cart come first. Their margin is the log of the "
        "covered amount plus log(percov). The other coupons are ordered by own spend and percov."
    ),
}

_PERCOV = (
    "Percov is the number of redemptions by other households so far, for each basket of theirs "
    "with a covered product."
)


def _decision(decision: Decision) -> str:
    kind, word = ("good", "passed") if decision.passed else ("bad", "not passed")
    checks = "".join(
        f'<li class="{"good" if check.held else "bad"}"><span class="mark" aria-label='
        f'"{"held" if check.held else "not held"}">{"✓" if check.held else "✗"}</span>'
        f"<span>{escape(check.name[:1].upper() + check.name[1:])}"
        f"<small>{escape(check.reason)}</small></span></li>"
        for check in decision.checks
    )
    return (
        f'<section id="gate" class="gate {kind}"><h2>Gate {word}</h2><p>{_verdict(decision)}</p>'
        f'<ul class="checks">{checks}</ul></section>'
    )


def _verdict(decision: Decision) -> str:
    meanings = {
        BETTER: "this version is better than the champion, with 95% confidence",
        NOT_WORSE: "this version is no worse than the champion, and not clearly better",
        WORSE: "this version may be worse than the champion by more than the gate allows",
        NO_CHAMPION: "there is no champion to compare with",
    }
    return f"Verdict: <b>{escape(decision.verdict)}</b> — {meanings.get(decision.verdict, '')}."


def _tiles(report: Report) -> str:
    own = next(one for one in report.leaderboard if one.model == RANKER)
    both = (report.evaluation.against_champion, report.evaluation.against_rule)
    tiles = [_tile(f"{own.metrics[PRIMARY]:.3f}", "NDCG@10 of this version")]
    tiles += [_difference(one) for one in both if one is not None]
    tiles.append(
        _tile(f"{own.metrics['recall@10']:.0%}", "of redeemed coupons are among the first ten")
    )
    tiles.append(
        _tile(
            f"{own.metrics['hit_rate@1']:.0%}",
            "of visits with an order have a redeemed coupon in first place",
        )
    )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _difference(measured: Comparison) -> str:
    about = (
        f"difference from {measured.other.replace('_', ' ')} ({measured.other_value:.3f}); 95% "
        f"interval {measured.low:+.3f} to {measured.high:+.3f}; {measured.groups:,} visits of "
        f"{measured.users:,} households"
    )
    return _tile(f"{measured.difference:+.3f}", about)


def _tile(value: str, about: str) -> str:
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(about)}</span></div>'


def _contents() -> str:
    links = "".join(f'<a href="#{name}">{text}</a>' for name, text in _LINKS)
    return f'<nav aria-label="Sections">{links}</nav>'


def _model(report: Report) -> str:
    about = (
        "Gradient-boosted trees (XGBoost) that order the coupons of a visit. They start from the "
        f"plain rule that serves without a champion. {_MARGIN[report.ranker]} {_PERCOV} The trees "
        "learn a correction of this margin. Without a correction, the rule decides."
    )
    rising = [one.name for one in report.features if one.rising]
    constraint = (
        "A higher value of these inputs never lowers a score (monotone constraints): "
        f"{', '.join(rising)}."
        if rising
        else "No input has a monotone constraint."
    )
    settings = [(name, text) for name, text in report.settings.items() if name != "rising"]
    return section(
        "model",
        "How does the model work?",
        paragraph(about),
        paragraph(constraint),
        pairs(settings, "compact"),
    )


def _data(report: Report) -> str:
    explain = (
        "Training uses only outcomes that were final and known before the first test visit. A pair "
        "that could still be redeemed then is left out; it does not count as unredeemed. The model "
        "learns from train and valid."
    )
    return _parts(report.parts) + note(explain)


def _parts(parts: Sequence[Part]) -> str:
    rows = [
        [
            escape(each.name),
            f"{each.start:%Y-%m-%d}" if each.start else "",
            f"{each.end:%Y-%m-%d}" if each.end else "",
            *(f"{count:,}" for count in (each.groups, each.pairs, each.redeemed)),
        ]
        for each in parts
    ]
    return table(["part", "first visit", "last visit", "visits", "pairs", "redeemed"], rows)
