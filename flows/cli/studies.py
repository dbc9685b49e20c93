"""The commands for experiments with the ranker: backtest and tune."""

from typing import Annotated

import typer

from flows.cli.conventions import Ranker, Version

From = Annotated[
    str, typer.Option("--from", help="Test the campaigns that start at this instant or later.")
]
Seed = Annotated[int, typer.Option(help="Seed of the models and the bootstrap.")]


def backtest(
    first: From,
    until: Annotated[
        str | None,
        typer.Option(help="Use only exposures before this instant; by default all."),
    ] = None,
    frozen_from: Annotated[
        str | None,
        typer.Option(help="Also report the campaigns before and from this instant separately."),
    ] = None,
    lake_version: Version = None,
    seed: Seed = 2017,
) -> None:
    """Rank every campaign with models trained on earlier data.

    The models are the ranker, the plain rules and the textbook baselines."""
    from flows.backtest import run_backtest
    from flows.cli.output import models, terminal
    from flows.runtime import run_flow

    with terminal.progress("Backtest"):
        result = run_flow(
            run_backtest,
            first=first,
            until=until,
            lake_version=lake_version,
            seed=seed,
            frozen_from=frozen_from,
        )
    for name, part in (result.summary.get("parts") or {}).items():
        models.backtested(part, name)
    models.backtested(result.summary)
    for name, reason in result.summary["left_out"].items():
        terminal.console.print(f"{name} is left out, as it cannot learn from this data: {reason}")
    terminal.console.print(f"Report: {result.report}\nScores: {result.predictions}", soft_wrap=True)


def tune(
    first: From,
    until: Annotated[
        str, typer.Option(help="Use only exposures before this instant; later ones are for tests.")
    ],
    ranker: Ranker = "home",
    trials: Annotated[int, typer.Option(min=1, help="The number of settings to try.")] = 40,
    lake_version: Version = None,
    seed: Seed = 2017,
) -> None:
    """Search the ranker's settings; each attempt is an MLflow run.

    The first attempt has the present settings. The best settings take effect
    when a person writes them into training/models/ranker.py.
    """
    from flows.cli.output import models, terminal
    from flows.runtime import run_flow
    from flows.tune import tune

    options = {"first": first, "until": until, "ranker": ranker, "trials": trials}
    with terminal.progress("Tune"):
        result = run_flow(tune, **options, lake_version=lake_version, seed=seed)
    models.tuned(result)
