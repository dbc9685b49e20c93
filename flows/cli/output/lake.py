"""Tables of the lake: the result of an ingest, a lake version, and the quarantine."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from flows.cli.output.terminal import console, instant, table

if TYPE_CHECKING:
    from feature_repo.lake.state import State
    from validation.ingestion import Ingested


_MOST_NAMED = 10


def ingested(result: "Ingested") -> None:
    """Prints the counts of an ingest for each table, and its warnings."""
    rows = [
        [name, *(f"{value:,}" for value in (c.rows_in, c.landed, c.present, c.quarantined))]
        for name, c in result.counts.items()
    ]
    head = ["table", "rows in", "landed", "already present", "quarantined"]
    change = "new" if result.changed else "unchanged"
    table(f"Lake version {result.state.number} ({change})", head, rows)
    waited = sum(c.waited for c in result.counts.values())
    if waited:
        console.print(
            f"{waited:,} of the rows in came from the quarantine, where they waited for their "
            "parent row."
        )
    for warning in result.checked.warnings:
        console.print(f"[yellow]Warning:[/] {escape(warning)}")
    assumed(result.assumed)


def assumed(sentences: Sequence[str]) -> None:
    """Prints what the source does not state and was taken for granted; nothing if it states all."""
    if sentences:
        console.print("Taken for granted:")
    for sentence in sentences:
        console.print(f"- {escape(sentence)}", highlight=False, soft_wrap=True)


def held_back(found: Mapping[str, str]) -> None:
    """Prints the coupons that are held back, each with its reason; nothing if there are none."""
    if found:
        named = [f"{one} ({reason})" for one, reason in list(found.items())[:_MOST_NAMED]]
        more = f", and {len(found) - len(named):,} more" * (len(found) > len(named))
        console.print(
            f"[yellow]Held back:[/] {len(found):,} coupon{'s' * (len(found) > 1)} not shown: "
            f"{escape(', '.join(named))}{more}.",
            soft_wrap=True,
        )


def lake_state(state: "State") -> None:
    """Prints a lake version: tables, Delta versions, rows, bytes, time range, watermark."""
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


def quarantined(rows: Sequence[Mapping[str, Any]], total: int) -> None:
    """Prints quarantined rows, each on one line: start of its id, rule, reason and effect."""
    console.print(f"[bold]{total:,} rows in quarantine[/]")
    for row in rows:
        title = f"{row['quarantine_id'][:8]} [yellow]{row['rule']}[/]"
        text = " ".join(filter(None, (row["reason"], row.get("effect"))))
        console.print(f"{title} {escape(text)}", highlight=False, soft_wrap=True)
    if total > len(rows):
        console.print(f"... and {total - len(rows):,} more; --limit or --export shows them.")
