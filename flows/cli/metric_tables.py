"""Tables of what was measured of models: of a training run, of a backtest, of a search."""

from collections.abc import Mapping
from dataclasses import asdict

from flows.cli import terminal

METRICS = ("ndcg@10", "map@10", "mrr", "precision@10", "recall@10", "f1@10", "hit_rate@10")
METRICS += ("coverage@10",)


def metrics(found: Mapping[str, Mapping[str, float]]) -> None:
    """Every metric of every model on the same test groups, the best of each in bold."""
    rows = []
    for name in METRICS:
        values = [found[model][name] for model in found]
        rows.append([name, *(_figure(value, max(values)) for value in values)])
    terminal.table("Test exposures, mean over groups with a redemption", ["metric", *found], rows)
    terminal.console.print("Equal scores are ordered by a hash of coupon_id (training/metrics.py).")


BACKTESTED = ("ndcg@10", "recall@10", "auc")


def backtested(summary: Mapping, part: str = "") -> None:
    """Every model of a backtest or of a part of it, best first, and how far the ranker is."""
    models = summary["models"]
    ordered = sorted(models, key=lambda name: -models[name]["ndcg@10"])
    rows = []
    for name in ordered:
        beside = summary["ranker_against"].get(name)
        apart = f"{beside['low']:+.4f} to {beside['high']:+.4f}" if beside else ""
        rows.append([name, *(f"{models[name][metric]:.4f}" for metric in BACKTESTED), apart])
    counted = summary["groups"]
    title = f"{part.capitalize()}: " if part else ""
    title += f"{counted['redeemed']:,} of {counted['all']:,} exposures with a redemption"
    terminal.table(title, ["model", *BACKTESTED, "ranker minus it"], rows)
    terminal.console.print(
        "Ranker minus it: the 95% interval of the difference in ndcg@10, by household. If what is "
        "redeemed followed the ranker's scores, chance would leave it "
        f"{summary['ceiling']['ndcg']:.4f} and {summary['ceiling']['recall']:.4f} (recall)."
    )


def tuned(found, most: int = 5) -> None:
    """The best attempts of a search beside the present settings, and what the best changes."""
    best, present = found.attempts[0], found.present
    rows = []
    for one in dict.fromkeys((*found.attempts[:most], present)):
        name = f"{one.number}{' (present)' if one is present else ''}"
        rows.append([name, f"{one.value:.4f}", *(f"{value:.3f}" for value in one.by_fold)])
    folds = [f"fold {number + 1}" for number in range(len(best.by_fold))]
    terminal.table("ndcg@10 of the best attempts", ["attempt", "all", *folds], rows)
    then, now = asdict(present.config), asdict(best.config)
    changed = [
        [name, _short(then[name]), _short(now[name])] for name in now if now[name] != then[name]
    ]
    if changed:
        terminal.table("The best attempt", ["setting", "present", "best"], changed)
    pruned = sum(one.pruned for one in found.attempts)
    terminal.console.print(
        f"{len(found.attempts)} attempts, {pruned} given up early; all are in MLflow."
    )


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _figure(value: float, best: float) -> str:
    return f"[bold green]{value:.4f}[/]" if value == best else f"{value:.4f}"
