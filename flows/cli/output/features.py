"""Tables of ``clipwise features diff``: examples, a summary of each view, and a sentence."""

from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from rich.text import Text

from flows.cli.output.terminal import console, instant, titled_table
from flows.compare.comparison import FeatureDiff
from flows.compare.differences import limit_evenly, readable_values, summarize_views


def differences(found: FeatureDiff, limit: int) -> None:
    """Prints up to ``limit`` differences, a summary of every view, and the result."""
    if found.differences:
        _examples(found, limit)
    _views(found)
    console.print(_result(found), highlight=False, soft_wrap=True)


def _examples(found: FeatureDiff, limit: int) -> None:
    """Prints the features that differ, below their entity and view, with both values."""
    shown = titled_table("Differences")
    shown.add_column("feature", no_wrap=True)
    for name in (found.left, found.right):
        shown.add_column(name, overflow="fold")
    rows = limit_evenly(found.differences, limit)
    for (kind, one), of_entity in groupby(rows, lambda row: (row.kind, row.id)):
        shown.add_section()
        shown.add_row(Text(f"{kind} {one}", style="bold"))
        for view, of_view in groupby(of_entity, lambda row: row.view):
            if view:
                shown.add_row(Text(f" {view}", style="dim"))
            for row in of_view:
                shown.add_row(f"  {row.feature}", *map(Text, readable_values(row)))
    console.print(shown)
    if len(found.differences) > len(rows):
        more = len(found.differences) - len(rows)
        console.print(f"... and {more:,} more; --limit shows them, --json writes all.")


def _views(found: FeatureDiff) -> None:
    """Prints the number of entities that differ in each view, and the most frequent features."""
    shown = titled_table("By view")
    shown.add_column("view", no_wrap=True)
    shown.add_column("differ", justify="right", no_wrap=True)
    shown.add_column("features that differ most", overflow="fold")
    kinds = {view.name: view.kind for view in found.views}
    for one in summarize_views(found.differences, kinds):
        most = list(one.features.items())[:3]
        features = [f"{name} ({times:,})" for name, times in most]
        if one.one_sided:
            features.append(f"on one side only ({one.one_sided:,})")
        count = f"[bold red]{one.entities:,}[/]" if one.entities else "0"
        total = f"{found.compared[kinds[one.view]]:,}"
        shown.add_row(one.view, f"{count} of {total}", ", ".join(features))
    console.print(shown)


def _result(found: FeatureDiff) -> str:
    """Builds the last sentence: agree or differ, as of which instant, for how many entities."""
    instants = " to ".join(dict.fromkeys(map(instant, (found.as_of[0], found.as_of[-1]))))
    sides = f"{found.left} and {found.right}".capitalize()
    if found.differences:
        changed = {(one.kind, one.id) for one in found.differences}
        counts = Counter(kind for kind, _one in changed)
        totals = {kind: _counted(kind, count) for kind, count in found.compared.items()}
        differ = [f"{counts[kind]:,} of {text}" for kind, text in totals.items() if counts[kind]]
        sentence = f"{sides} [bold red]differ[/] as of {instants} in {_listed(differ)}"
    else:
        compared = _listed(_counted(*one) for one in found.compared.items())
        sentence = f"{sides} [bold green]agree[/] as of {instants} for {compared}"
    if found.compared == found.population:
        return f"{sentence}."
    population = _listed(_counted(*one) for one in found.population.items())
    sentence += f", sampled from {population}"
    return f"{sentence}, {found.first}." if found.first else f"{sentence}."


def _counted(kind: str, count: int) -> str:
    return f"{count:,} {kind}{'' if count == 1 else 's'}"


def _listed(texts: Iterable[str]) -> str:
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last
