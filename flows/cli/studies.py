"""The commands for experiments with the ranker: backtest and tune."""

from typing import Annotated

import typer

from flows.cli.conventions import Ranker, Version

From = Annotated[str, typer.Option("--from", help="Test the visits at this instant or later.")]
Seed = Annotated[int, typer.Option(help="Seed of the models and the bootstrap.")]


def backtest(
    first: From,
    until: Annotated[
        str | None,
        typer.Option(help="Use only visits before this instant; by default all."),
    ] = None,
    frozen_from: Annotated[
        str | None,
        typer.Option(help="Also report the visits before and from this instant separately."),
    ] = None,
    lake_version: Version = None,
    seed: Seed = 2017,
    baselines: Annotated[
        bool, typer.Option(help="Also test the textbook recommenders and classifiers.")
    ] = False,
) -> None:
    """Rank every visit with models trained on earlier data.

    The rankers are trained again every week and every month. The plain rules
    are beside them."""
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
            baselines=baselines,
        )
    for ranker, summary in result.summary["rankers"].items():
        for name, part in (summary.get("parts") or {}).items():
            models.backtested(ranker, part, name)
        models.backtested(ranker, summary)
        for name, reason in summary["left_out"].items():
            terminal.console.print(f"{name} of {ranker} is left out, as it cannot learn: {reason}")
    terminal.console.print(
        f"Report: {result.report}\nScores: {result.predictions}\nVisits: {result.visits}",
        soft_wrap=True,
    )


def tune(
    first: From,
    until: Annotated[
        str, typer.Option(help="Use only visits before this instant; later ones are for tests.")
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
