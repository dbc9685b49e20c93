"""The report of a training run for the reviewer: one HTML file that needs nothing else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from training.evaluate import RANKER, Comparison, Evaluation
from training.frame import RankingFrame, groups
from training.promotion import Decision

_SHOWN = ("ndcg@10", "ndcg@5", "map@10", "mrr", "precision@10", "recall@10", "f1@10")
_SHOWN += ("hit_rate@1", "hit_rate@10", "coverage@10")

LIMITS: tuple[str, ...] = (
    "Coupons went to chosen users, not at random: no figure says what a coupon causes.",
    "Every coupon of the campaign counts as a candidate, also one that the user did not see.",
    "Test coupons still open at the watermark may yet be redeemed; here they count as they stand.",
    "Groups are one campaign each; whether scores compare across campaigns is not measured here.",
    "Only groups with a redeemed coupon have a value; coverage counts all groups.",
    "Equal scores are ordered by the first 8 bytes of BLAKE2b of coupon_id, as the service does.",
)


@dataclass(frozen=True)
class Part:
    """What a part of the data holds; ``start`` and ``end`` are its first and last exposure."""

    name: str
    start: datetime | None
    end: datetime | None
    groups: int
    pairs: int
    redeemed: int


@dataclass(frozen=True)
class Report:
    """What the page shows. ``facts`` are lines on the run, such as the lake version and commit."""

    title: str
    facts: Mapping[str, str]
    parts: Sequence[Part]
    evaluation: Evaluation
    decision: Decision
    importance: Sequence[tuple[str, float]]
    limits: Sequence[str] = LIMITS


def part(name: str, frame: RankingFrame) -> Part:
    """Count what a part of the data holds."""
    if len(frame) == 0:
        return Part(name, None, None, 0, 0, 0)
    first, last = int(frame.as_of.min()), int(frame.as_of.max())
    return Part(
        name, _time(first), _time(last), len(groups(frame)), len(frame), int(frame.label.sum())
    )


def render(report: Report) -> str:
    """The page as HTML, without scripts and without anything from outside."""
    sections = (
        _decision(report.decision),
        _section("Against the others", _comparisons(report.evaluation)),
        _section("Metrics on test", _metrics(report.evaluation.table)),
        _section("What it was trained on", _facts(report.facts) + _parts(report.parts)),
        _section("What the trees used most", _importance(report.importance)),
        _section("Known limits", _list(report.limits)),
    )
    title = escape(report.title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body><main><h1>{title}</h1>\n"
        + "\n".join(sections)
        + "\n</main></body></html>\n"
    )


def _decision(decision: Decision) -> str:
    kind, word = ("good", "passed") if decision.passed else ("bad", "not passed")
    return (
        f'<section class="gate {kind}"><h2>Gate {word}</h2><p>Verdict: '
        f"<b>{escape(decision.verdict)}</b></p>{_list(decision.reasons)}</section>"
    )


def _comparisons(evaluation: Evaluation) -> str:
    both = (evaluation.against_rule, evaluation.against_champion)
    return "".join(_comparison(comparison) for comparison in both if comparison is not None)


def _comparison(measured: Comparison) -> str:
    return (
        f"<p>NDCG@10 of the ranker is <b>{measured.ranker_value:.4f}</b>, of "
        f"{escape(measured.other)} <b>{measured.other_value:.4f}</b>: a difference of "
        f"<b>{measured.difference:+.4f}</b>, with 95% confidence from {measured.low:+.4f} to "
        f"{measured.high:+.4f} ({measured.groups:,} groups of {measured.users:,} users, paired "
        f"bootstrap over users).</p>{_interval(measured)}"
    )


def _interval(measured: Comparison) -> str:
    """The interval as a bar on an axis around zero."""
    reach = 1.15 * max(abs(measured.low), abs(measured.high), 0.01)

    def at(value: float) -> str:
        return f"{300 + 290 * value / reach:.1f}"

    width = f"{290 * (measured.high - measured.low) / reach:.1f}"
    return (
        '<svg viewBox="0 0 600 46" role="img" aria-label="95% interval of the difference">'
        '<line x1="10" x2="590" y1="18" y2="18" class="axis"/>'
        '<line x1="300" x2="300" y1="6" y2="30" class="zero"/>'
        f'<rect x="{at(measured.low)}" y="13" width="{width}" height="10" rx="5"/>'
        f'<circle cx="{at(measured.difference)}" cy="18" r="7"/>'
        '<text x="300" y="44">equal</text><text x="10" y="44" class="left">other better</text>'
        '<text x="590" y="44" class="right">ranker better</text></svg>'
    )


def _metrics(table: Mapping[str, Mapping[str, float]]) -> str:
    models = sorted(table, key=lambda model: model != RANKER)
    rows = [[name, *_with_best([table[model][name] for model in models])] for name in _SHOWN]
    return _table(["", *(escape(model.replace("_", " ")) for model in models)], rows)


def _with_best(values: Sequence[float]) -> list[str]:
    shown = ["" if math.isnan(value) else f"{value:.4f}" for value in values]
    best = max((text for text in shown if text), default="")
    return [f"<b>{text}</b>" if text and text == best else text for text in shown]


def _facts(facts: Mapping[str, str]) -> str:
    items = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<dl>{''.join(items)}</dl>"


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
    return _table(["", "first exposure", "last exposure", "groups", "pairs", "redeemed"], rows)


def _importance(gains: Sequence[tuple[str, float]]) -> str:
    most = max((gain for _, gain in gains), default=1.0) or 1.0
    rows = [
        [
            escape(name),
            f"{gain:.1%}",
            f'<span class="bar" style="width:{100 * gain / most:.1f}%"></span>',
        ]
        for name, gain in gains
    ]
    return _table(["input", "part of the gain", ""], rows, "gains")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    top = "".join(f'<th scope="col">{text}</th>' for text in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _list(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


_STYLE = """
:root{color-scheme:light dark;--ink:#1c2733;--soft:#5d6b7a;--line:#dfe5eb;--page:#f6f8fa;
--card:#fff;--mark:#0b6e99;--good:#1a7f4b;--bad:#b3412e}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa8b6;--line:#2f3a46;
--page:#12181f;--card:#1a222b;--mark:#4db6e2;--good:#4cc38a;--bad:#f08a76}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:860px;margin:0 auto;padding:40px 20px 64px}
h1{font-size:28px;line-height:1.2;margin:0 0 24px}h2{font-size:18px;margin:0 0 12px}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:20px 24px;margin:0 0 18px}
.gate{border-left:6px solid var(--tone)}.gate h2{color:var(--tone);font-size:21px}
.good{--tone:var(--good)}.bad{--tone:var(--bad)}
p{margin:0 0 10px}ul{margin:0;padding-left:20px}li{margin:4px 0}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:7px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:500}thead th{color:var(--soft);font-size:13.5px;vertical-align:bottom}
tbody tr:last-child>*{border-bottom:0}
th:first-child{text-align:left;padding-left:0}td b{color:var(--mark)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;margin:0 0 16px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.gains td:last-child{width:45%}.gains td{padding-top:4px;padding-bottom:4px}
.bar{display:block;height:9px;border-radius:5px;background:var(--mark)}
svg{width:100%;max-width:600px;display:block;margin:6px auto 16px}
svg rect{fill:var(--mark);opacity:.35}svg circle{fill:var(--mark)}
.axis{stroke:var(--line);stroke-width:2}.zero{stroke:var(--soft);stroke-width:1.5}
svg text{font-size:12px;fill:var(--soft);text-anchor:middle}
svg .left{text-anchor:start}svg .right{text-anchor:end}
"""
