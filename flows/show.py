"""What a person sees in the terminal: tables, sentences and progress, all with Rich."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

console = Console()
errors = Console(stderr=True)

METRICS = ("ndcg@10", "map@10", "mrr", "precision@10", "recall@10", "f1@10", "hit_rate@10")
METRICS += ("coverage@10",)


def instant(moment: datetime | None) -> str:
    """An instant as people write it, to the second."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


@contextmanager
def progress(title: str) -> Iterator[None]:
    """Show how far every stage has come while a command runs."""
    from flows.steps import heard_by

    columns = (
        SpinnerColumn(finished_text="[green]done[/]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=False) as bars:
        whole = bars.add_task(title, total=1)
        stages: dict[str, int] = {}

        def listen(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(f"  {stage}", total=total)
            bars.update(stages[stage], completed=done, total=total)

        with heard_by(listen):
            yield
        for task in (*stages.values(), whole):
            bars.update(task, total=bars.tasks[task].completed or 1)
        bars.update(whole, completed=1)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """A table whose first ``left`` columns are text and the others figures."""
    shown = Table(title=title, title_justify="left", title_style="bold")
    for position, name in enumerate(head):
        shown.add_column(name, justify="left" if position < left else "right", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def ingested(result) -> None:
    """What became of a batch, by table."""
    rows = [
        [name, *(f"{value:,}" for value in (c.rows_in, c.landed, c.present, c.quarantined))]
        for name, c in result.counts.items()
    ]
    head = ["table", "rows in", "landed", "already present", "quarantined"]
    change = "new" if result.changed else "unchanged"
    table(f"Lake version {result.state.number} ({change})", head, rows)
    waited = sum(c.waited for c in result.counts.values())
    if waited:
        console.print(f"{waited:,} of the rows in had waited in quarantine for their parent.")
    for warning in result.checked.warnings:
        console.print(f"[yellow]Warning:[/] {warning}")


def lake_state(state) -> None:
    """A state of the lake: tables, versions, rows, bytes, time range, watermark."""
    rows = [
        [name, _days(t.first, t.last), t.learned, str(t.version), f"{t.rows:,}", f"{t.bytes:,}"]
        for name, t in state.tables.items()
    ]
    head = ["table", "first and last day", "learned", "version", "rows", "bytes"]
    table(f"Lake version {state.number}", head, rows, left=3)
    console.print(
        f"Source {state.source}, schema version {state.schema_version}, complete up to "
        f"[bold]{instant(state.watermark)}[/].",
        soft_wrap=True,
    )


def _days(first: datetime | None, last: datetime | None) -> str:
    return "" if first is None else f"{first:%Y-%m-%d} {last:%Y-%m-%d}"


def metrics(found: Mapping[str, Mapping[str, float]]) -> None:
    """Every metric of every model on the same test groups, the best of each in bold."""
    rows = []
    for name in METRICS:
        values = [found[model][name] for model in found]
        rows.append([name, *(_figure(value, max(values)) for value in values)])
    table("Test exposures, mean over groups with a redemption", ["metric", *found], rows)
    console.print("Equal scores are ordered by a hash of coupon_id (training/metrics.py).")


def _figure(value: float, best: float) -> str:
    return f"[bold green]{value:.4f}[/]" if value == best else f"{value:.4f}"


def decision(verdict) -> None:
    """The gate's word and its reasons."""
    word = "[green]passed[/]" if verdict.passed else "[red]failed[/]"
    console.print(f"Gate: [bold]{word}[/]")
    for reason in verdict.reasons:
        console.print(f"  - {reason}")


def recommended(explained) -> None:
    """The ranked coupons of a user with what they cover."""
    answer = explained.answer
    console.print(
        f"User [bold]{answer.user_id}[/] as of {instant(explained.as_of)}, ranked by "
        f"{answer.model.name} {answer.model.version}."
    )
    if answer.cold_start:
        console.print("Nothing is known of this user, so only open campaigns count.")
    if answer.removed:
        removed = ", ".join(f"{count:,} {rule}" for rule, count in answer.removed.items())
        console.print(f"Removed by rules: {removed}.")
    if answer.reason:
        console.print(f"No coupon: {answer.reason}.")
        return
    shown = Table(title_justify="left")
    for name in ("#", "coupon", "score", "valid to", "covers", "bought before"):
        shown.add_column(name, justify="right" if name in ("#", "score") else "left")
    for one in answer.recommendations:
        count, names, own = explained.covers.get(one.coupon_id, (0, [], []))
        covers = f"{count:,}: {_names(names)}" if count else "unknown"
        row = [str(one.rank), one.coupon_id, f"{one.score:.3f}", f"{one.valid_to:%Y-%m-%d}"]
        shown.add_row(*row, covers, _names(own) or "-")
    console.print(shown)


def _names(names: Sequence[str], longest: int = 32) -> str:
    return "; ".join(" ".join(name.lower().split())[:longest].strip() for name in names)


def quarantined(rows: Sequence[Mapping[str, object]], total: int) -> None:
    """Rows in quarantine, a sentence each behind the beginning of the id."""
    console.print(f"[bold]{total:,} rows in quarantine[/]")
    for row in rows:
        title = f"{row['quarantine_id'][:8]} [yellow]{row['rule']}[/]"
        console.print(f"{title} {row['reason']}", highlight=False, soft_wrap=True)
    if total > len(rows):
        console.print(f"... and {total - len(rows):,} more; --limit or --export shows them.")
