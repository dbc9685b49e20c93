"""Output in the terminal, by Rich: consoles, errors, instants, progress, and plain tables.

Answers go to standard output; progress and errors go to standard error.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

console = Console()
errors = Console(stderr=True)


def error(message: object) -> None:
    """Prints an error; its text may hold any characters."""
    errors.print(f"[bold red]Error:[/] {escape(str(message))}", highlight=False, soft_wrap=True)


def instant(moment: datetime | None) -> str:
    """Formats an instant to the second; an empty text for None.

    >>> instant(datetime(2025, 6, 30, 22))
    '2025-06-30 22:00:00 UTC'
    """
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


@contextmanager
def progress(title: str) -> Iterator[None]:
    """Shows a progress bar for the command and for every stage that it reports."""
    from flows.runtime import progress_to

    columns = (
        SpinnerColumn(finished_text="[green]done[/]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=False) as bars:
        command = bars.add_task(title, total=1)
        stages: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(f"  {stage}", total=total)
            bars.update(stages[stage], completed=done, total=total)

        with progress_to(show):
            yield
        for task in (*stages.values(), command):
            bars.update(task, total=bars.tasks[task].completed or 1)
        bars.update(command, completed=1)


def titled_table(title: str) -> Table:
    """Returns an empty table with a bold title on the left."""
    return Table(title=title, title_justify="left", title_style="bold")


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Prints a table whose first ``left`` columns are text and the others figures.

    The first column stays on one line. In a narrow terminal the widest of the others fold.
    """
    shown = titled_table(title)
    for position, name in enumerate(head):
        shown.add_column(
            name,
            justify="left" if position < left else "right",
            no_wrap=position == 0,
            overflow="fold",
        )
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
