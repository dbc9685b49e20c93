"""What a person sees in the terminal: tables, sentences and progress, all with Rich."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from flows.compare.differences import differing, in_words, spread

console = Console()
errors = Console(stderr=True)


def error(message: object) -> None:
    """What went wrong, as one sentence that may hold anything."""
    errors.print(f"[bold red]Error:[/] {escape(str(message))}", highlight=False, soft_wrap=True)


def instant(moment: datetime | None) -> str:
    """An instant as people write it, to the second."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


@contextmanager
def progress(title: str) -> Iterator[None]:
    """Show how far every stage has come while a command runs."""
    from flows.runtime import progress_to

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

        with progress_to(listen):
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


def decision(found) -> None:
    """The gate's word and its verdict, and every check with its figures."""
    shown = Table(title="The gate", title_justify="left", title_style="bold")
    for name in ("check", "held", "why"):
        shown.add_column(name, no_wrap=name != "why", overflow="fold")
    for check in found.checks:
        held = "[green]held[/]" if check.held else "[bold red]not held[/]"
        shown.add_row(check.name, held, Text(check.reason))
    console.print(shown)
    word = "[green]passed[/]" if found.passed else "[red]failed[/]"
    console.print(f"Gate: [bold]{word}[/], verdict: [bold]{found.verdict}[/]")


def reproduced(found) -> None:
    """Both model files, and what was not the same when the version was made."""
    console.print(f"The model file of coupon_ranker version {found.version} by SHA-256:")
    console.print(f"registered {found.expected}\nmade again {found.found}", soft_wrap=True)
    if found.changed:
        changed = [[name, *values] for name, values in found.changed.items()]
        table("Not the same any more", ["setting", "then", "now"], changed, left=3)
    word = "[green]the same[/]" if found.alike else "[bold red]not the same[/]"
    console.print(f"Byte for byte, they are {word}.")


def audited(changes) -> None:
    """Every change of champion, oldest first."""
    shown = Table(title="Changes of champion", title_justify="left", title_style="bold")
    for name in ("when", "from", "to", "how", "who", "why"):
        shown.add_column(name, overflow="fold")
    for one in changes:
        when = instant(one.at) if one.at else f"unknown; seen {instant(one.seen_at)}"
        versions = (one.previous or "-", one.version or "-")
        shown.add_row(when, *versions, one.how, *map(Text, (one.actor, one.reason or "-")))
    console.print(shown)


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
        console.print(f"{title} {escape(row['reason'])}", highlight=False, soft_wrap=True)
    if total > len(rows):
        console.print(f"... and {total - len(rows):,} more; --limit or --export shows them.")


def differences(found, limit: int) -> None:
    """What differs between two sides: examples, a summary of every view, and a sentence."""
    if found.differences:
        _examples(found, limit)
    _differing_views(found)
    console.print(_verdict(found), highlight=False, soft_wrap=True)


def _examples(found, limit: int) -> None:
    """The features that differ under their entity and view, with both values."""
    shown = Table(title="What differs", title_justify="left", title_style="bold")
    shown.add_column("feature", no_wrap=True)
    for name in (found.left, found.right):
        shown.add_column(name, overflow="fold")
    rows = spread(found.differences, limit)
    for (kind, one), of_entity in groupby(rows, lambda row: (row.kind, row.id)):
        shown.add_section()
        shown.add_row(Text(f"{kind} {one}", style="bold"))
        for view, of_view in groupby(of_entity, lambda row: row.view):
            if view:
                shown.add_row(Text(f" {view}", style="dim"))
            for row in of_view:
                shown.add_row(f"  {row.feature}", *map(Text, in_words(row)))
    console.print(shown)
    if len(found.differences) > len(rows):
        more = len(found.differences) - len(rows)
        console.print(f"... and {more:,} more; --limit shows them, --json writes all.")


def _differing_views(found) -> None:
    shown = Table(title="By view", title_justify="left", title_style="bold")
    shown.add_column("view", no_wrap=True)
    shown.add_column("differ", justify="right", no_wrap=True)
    shown.add_column("features that differ most", overflow="fold")
    kinds = {view.name: view.kind for view in found.views}
    for one in differing(found.differences, kinds):
        most = list(one.features.items())[:3]
        features = [f"{name} ({times:,})" for name, times in most]
        if one.alone:
            features.append(f"known to one side alone ({one.alone:,})")
        count = f"[bold red]{one.entities:,}[/]" if one.entities else "0"
        every = f"{found.compared[kinds[one.view]]:,}"
        shown.add_row(one.view, f"{count} of {every}", ", ".join(features))
    console.print(shown)


def _verdict(found) -> str:
    """Whether the sides are alike, as of when, and of how many entities that can be said."""
    ends = " to ".join(dict.fromkeys(map(instant, (found.as_of[0], found.as_of[-1]))))
    sides = f"{found.left} and {found.right}".capitalize()
    if found.differences:
        changed = {(one.kind, one.id) for one in found.differences}
        counts = Counter(kind for kind, _one in changed)
        every = {kind: _many(kind, count) for kind, count in found.compared.items()}
        differ = [f"{counts[kind]:,} of {text}" for kind, text in every.items() if counts[kind]]
        said = f"{sides} [bold red]differ[/] as of {ends} in {_listed(differ)}"
    else:
        every = _listed(_many(*one) for one in found.compared.items())
        said = f"{sides} answer [bold green]alike[/] as of {ends} for {every}"
    if found.compared == found.population:
        return f"{said}."
    said += f", sampled of {_listed(_many(*one) for one in found.population.items())}"
    return f"{said}, {found.first}." if found.first else f"{said}."


def _many(kind: str, count: int) -> str:
    return f"{count:,} {kind}{'' if count == 1 else 's'}"


def _listed(texts: Iterable[str]) -> str:
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last
