"""The commands of who improves the ranker: test it on campaign after campaign, search settings."""

from typing import Annotated

import typer

From = Annotated[
    str, typer.Option("--from", help="Test the campaigns that start at this instant or later.")
]
Version = Annotated[int | None, typer.Option(help="The lake version; by default the current one.")]
Seed = Annotated[int, typer.Option(help="Seeds the models and the bootstrap.")]


def backtest(
    first: From,
    until: Annotated[
        str | None, typer.Option(help="Use no exposure from this instant on; by default all.")
    ] = None,
    frozen_from: Annotated[
        str | None,
        typer.Option(help="Also report apart what starts before this instant and from it on."),
    ] = None,
    lake_version: Version = None,
    seed: Seed = 2017,
) -> None:
    """Rank every campaign by models that knew only what came before it, baselines included."""
    from flows.backtest import run_backtest
    from flows.cli import metric_tables, terminal
    from flows.runtime import run

    with terminal.progress("Backtest"):
        result = run(
            run_backtest,
            first=first,
            until=until,
            lake_version=lake_version,
            seed=seed,
            frozen_from=frozen_from,
        )
    for name, part in (result.summary.get("parts") or {}).items():
        metric_tables.backtested(part, name)
    metric_tables.backtested(result.summary)
    for name, why in result.summary["left_out"].items():
        terminal.console.print(f"{name} cannot learn from these data and is left out: {why}")
    terminal.console.print(f"Report: {result.report}\nScores: {result.predictions}", soft_wrap=True)


def tune(
    first: From,
    until: Annotated[
        str, typer.Option(help="Use no exposure from this instant on: it stays for the test.")
    ],
    trials: Annotated[int, typer.Option(min=1, help="How many settings to try.")] = 40,
    lake_version: Version = None,
    seed: Seed = 2017,
) -> None:
    """Search for settings of the ranker; every attempt is a run in MLflow, below one of the search.

    The present settings are the first attempt. What is found takes effect when it is written into
    training/ranker.py.
    """
    from flows.cli import metric_tables, terminal
    from flows.runtime import run
    from flows.tune import tune as searched

    asked = {"first": first, "until": until, "trials": trials}
    with terminal.progress("Tune"):
        result = run(searched, **asked, lake_version=lake_version, seed=seed)
    metric_tables.tuned(result)
