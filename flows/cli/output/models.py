"""Tables of models: metrics, backtests, searches, the gate, reproduction and champions."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from flows.cli.output.terminal import console, instant, table, titled_table

if TYPE_CHECKING:
    from flows.reproduce import Reproduced
    from flows.retrain import Retrained
    from flows.tune import Tuned
    from serving.models.audit import Change
    from training.registry.promotion_gate import Decision

METRICS = {
    "ndcg@10": "ndcg@10",
    "hit@1": "hit_rate@1",
    "hit@3": "hit_rate@3",
    "recall@10": "recall@10",
    "mrr": "mrr",
    "coverage@10": "coverage@10",
}
"""The printed metrics of a gate: the head of the column, and the metric's name."""

BACKTEST_METRICS = ("ndcg@10", "hit@1", "recall@10", "mrr")


def trained(found: "Retrained") -> None:
    """Prints a trained version: its metrics, the gate's decision, and the reviewer's page."""
    console.rule(f"{found.ranker.model} version {found.version}")
    metrics(found)
    decision(found.decision)
    console.print(f"Report: {found.report}", soft_wrap=True)


def metrics(found: "Retrained") -> None:
    """Prints the metrics of every model on the same test visits, best first, the best in bold."""
    models = found.evaluation.table
    best = {head: max(one[name] for one in models.values()) for head, name in METRICS.items()}
    rows = [
        [model, *(_highlighted(models[model][METRICS[head]], best[head]) for head in METRICS)]
        for model in sorted(models, key=lambda one: -models[one]["ndcg@10"])
    ]
    counted = found.evaluation.without_order
    title = f"Test: {counted.with_order:,} of {counted.groups:,} visits have an order"
    table(title, ["model", *METRICS], rows)
    console.print("Coverage counts all visits, the other metrics those with an order.")
    console.print("Ties are ordered by a hash of coupon_id (serving/policy/order.py).")


def backtested(ranker: str, summary: Mapping[str, Any], part: str = "") -> None:
    """Prints a ranker's backtest, or a part of it: models, best first, and what they mean."""
    models = summary["models"]
    ordered = sorted(models, key=lambda name: -models[name]["ndcg@10"])
    rows = []
    for name in ordered:
        against = summary["ranker_against"].get(name)
        interval = f"{against['low']:+.4f} to {against['high']:+.4f}" if against else ""
        rows.append(
            [name, *(f"{models[name][METRICS[one]]:.4f}" for one in BACKTEST_METRICS), interval]
        )
    counted = summary["groups"]
    title = f"{ranker.capitalize()}, {part or 'all visits'}: {counted['redeemed']:,} of "
    title += f"{counted['all']:,} visits have an order"
    table(title, ["model", *BACKTEST_METRICS, "ranker minus it"], rows)
    for sentence in (summary["breadth"]["sentences"], *_probability(summary["visits"])):
        console.print(sentence)


def _probability(visits: Mapping[str, Any]) -> list[str]:
    """Describes the probability of any redemption at a visit, if there is one."""
    if math.isnan(visits["average_precision"]):
        return []
    return [
        f"Any redemption at the visit: average precision {visits['average_precision']:.3f} at a "
        f"base rate of {visits['base_rate']:.4f}. Expected redemptions "
        f"{visits['expected_redemptions']:,.0f}, actual {visits['redemptions']:,.0f}."
    ]


def tuned(found: "Tuned", most: int = 5) -> None:
    """Prints the best attempts of a search, the present settings, and the changed settings."""
    best, present = found.attempts[0], found.present
    rows = []
    for one in dict.fromkeys((*found.attempts[:most], present)):
        name = f"{one.number}{' (present)' if one is present else ''}"
        rows.append([name, f"{one.value:.4f}", *(f"{value:.3f}" for value in one.by_fold)])
    folds = [f"fold {number + 1}" for number in range(len(best.by_fold))]
    table("ndcg@10 of the best attempts", ["attempt", "all", *folds], rows)
    then, now = asdict(present.config), asdict(best.config)
    changed = [
        [name, _short(then[name]), _short(now[name])] for name in now if now[name] != then[name]
    ]
    if changed:
        table("The best attempt", ["setting", "present", "best"], changed)
    pruned = sum(one.pruned for one in found.attempts)
    console.print(f"{len(found.attempts)} attempts, {pruned} stopped early. All are in MLflow.")


def decision(found: "Decision") -> None:
    """Prints every check of the gate with its figures, then the decision and the verdict."""
    shown = titled_table("The gate")
    for name in ("check", "result", "reason"):
        shown.add_column(name, no_wrap=name != "reason", overflow="fold")
    for check in found.checks:
        result = "[green]passed[/]" if check.held else "[bold red]failed[/]"
        shown.add_row(check.name, result, Text(check.reason))
    console.print(shown)
    outcome = "[green]passed[/]" if found.passed else "[red]failed[/]"
    console.print(f"Gate: [bold]{outcome}[/], verdict: [bold]{found.verdict}[/]")


def reproduced(found: "Reproduced") -> None:
    """Prints the hashes of both model files, and the settings that changed since."""
    console.print(f"SHA-256 of the model file of {found.model} version {found.version}:")
    console.print(f"registered {found.expected}\nretrained  {found.found}", soft_wrap=True)
    if found.changed:
        changed = [[name, *values] for name, values in found.changed.items()]
        table("Changed since the training", ["setting", "then", "now"], changed, left=3)
    outcome = "[green]the same[/]" if found.is_same else "[bold red]different[/]"
    console.print(f"Byte for byte, they are {outcome}.")


def audited(changes: Iterable["Change"]) -> None:
    """Prints every change of champion, oldest first."""
    shown = titled_table("Changes of champion")
    for name in ("when", "model", "from", "to", "how", "who", "why"):
        shown.add_column(name, overflow="fold")
    for one in changes:
        when = instant(one.at) if one.at else f"unknown, noticed {instant(one.seen_at)}"
        versions = (one.previous or "-", one.version or "-")
        shown.add_row(
            when, one.model, *versions, one.how, *map(Text, (one.actor, one.reason or "-"))
        )
    console.print(shown if shown.rows else "No change of champion is recorded.")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _highlighted(value: float, best: float) -> str:
    return f"[bold green]{value:.4f}[/]" if value == best else f"{value:.4f}"
