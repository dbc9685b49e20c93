"""The command line. Each command imports what it needs, so that ``--help`` is fast."""

import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from feature_repo.names import Placement, RankerKey
from flows.cli import models, studies
from flows.cli.conventions import EXIT_CODE, AsOf, Version
from flows.cli.features import features
from flows.cli.keys import keys
from flows.runtime import silence_tools

app = typer.Typer(
    name="clipwise",
    help="Decides which coupon to show to whom: data, features, models, gate, service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(features, name="features")
app.add_typer(keys, name="keys")


class Source(StrEnum):
    """Sources of rows."""

    complete_journey = "complete_journey"
    files = "files"
    sql = "sql"


OWN = ("feature_repo", "validation", "training", "serving", "flows")
"""Packages whose errors are written for the user, so they are shown without a traceback."""

STORES = ("redis.exceptions",)
"""Modules of a store's client whose errors name the server that does not respond."""


@app.command()
def demo() -> None:
    """Run the whole loop on a year of real grocery data."""
    from flows.cli.demo import demo

    demo()


@app.command()
def ingest(
    source: Annotated[Source, typer.Option(help="The source of the rows.")] = (
        Source.complete_journey
    ),
    path: Annotated[
        Path | None, typer.Option(help="The folder of the source `files` or `sql`.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Only write a draft of contract.sql into this folder, for `sql`."),
    ] = None,
    as_of: AsOf = None,
    max_failure_share: Annotated[
        float, typer.Option(min=0, max=1, help="Stop if a table has a larger share of bad rows.")
    ] = 0.01,
) -> None:
    """Check a source's rows and load all or none into the lake.

    Rows that the lake has already are skipped. --as-of states the instant up
    to which the rows are complete; by default it is the last row.
    """
    from feature_repo.lake.reader import Lake
    from flows.cli.held_back import held_back
    from flows.cli.output import lake, terminal
    from flows.ingest import draft, ingest
    from flows.runtime import prepare_environment, run_flow

    if init:
        terminal.console.print(f"Wrote {draft(source.value, init)}.", soft_wrap=True)
        return
    with terminal.progress("Ingest"):
        result = run_flow(
            ingest,
            source=source.value,
            path=str(path) if path else None,
            as_of=as_of,
            max_failure_share=max_failure_share,
        )
    lake.ingested(result)
    lake.held_back(held_back(Lake(prepare_environment())))


@app.command()
def lake(version: Version = None) -> None:
    """Show the lake's tables, rows, time ranges and watermark."""
    from feature_repo.lake.reader import Lake
    from flows.cli.output.lake import lake_state
    from flows.runtime import prepare_environment

    lake_state(Lake(prepare_environment()).state(version))


@app.command()
def quarantine(
    table: Annotated[str | None, typer.Option(help="Only the rows of this table.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rows to show.")] = 20,
    export: Annotated[
        Path | None,
        typer.Option(help="Write the rows to this new folder, to repair and ingest them."),
    ] = None,
    discard: Annotated[
        str | None, typer.Option(help="Delete the row with this id, or this start of an id.")
    ] = None,
) -> None:
    """List the rows that failed a check, with rule and reason."""
    from flows.cli.output import lake, terminal
    from flows.cli.quarantine import discard_row, export_rows, quarantined_rows

    if discard:
        discard_row(discard)
    rows = quarantined_rows(table)
    lake.quarantined(rows[:limit], len(rows))
    if export:
        terminal.console.print(f"Wrote {export_rows(rows, export)}.")


@app.command()
def materialize(as_of: AsOf = None) -> None:
    """Write the newest features to the online store.

    --as-of states the instant up to which the store is then complete; by
    default it is the watermark of the lake.
    """
    from flows.cli.output import terminal
    from flows.materialize import materialize
    from flows.runtime import run_flow

    with terminal.progress("Materialize"):
        until = run_flow(materialize, as_of=as_of)
    terminal.console.print(
        f"Online features are complete up to [bold]{terminal.instant(until)}[/]."
    )


@app.command()
def train(
    ranker: Annotated[
        RankerKey | None, typer.Option(help="Train only this ranker; by default both.")
    ] = None,
    lake_version: Version = None,
    test_start: Annotated[
        str | None,
        typer.Option(help="Start of the test visits; by default 8 weeks before the watermark."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the trees and the bootstrap.")] = 2017,
) -> None:
    """Train, compare and register both rankers or one, and run the gate."""
    from flows.cli.output import models, terminal
    from flows.retrain import retrain
    from flows.runtime import run_flow

    with terminal.progress("Train"):
        results = run_flow(
            retrain, ranker=ranker, lake_version=lake_version, test_start=test_start, seed=seed
        )
    for result in results:
        models.trained(result)


for command in (
    studies.backtest,
    studies.tune,
    models.gate,
    models.reproduce,
    models.promote,
    models.rollback,
    models.audit,
):
    app.command()(command)


@app.command()
def recommend(
    user: Annotated[str, typer.Option(help="The user's id.")],
    as_of: AsOf = None,
    k: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of coupons.")] = 10,
    placement: Annotated[
        Placement, typer.Option(help="The placement, which selects the ranker.")
    ] = "home",
    cart: Annotated[str, typer.Option(help="The lines of the cart, in JSON as in the API.")] = "[]",
) -> None:
    """Rank one user's coupons as of any instant.

    The features come from the offline store. --as-of is by default the
    watermark of the lake.
    """
    from flows.cli.output import terminal
    from flows.cli.output.recommendation import recommended
    from flows.offline_recommendation import cart_from_json, recommend

    lines = cart_from_json(cart)
    with terminal.errors.status("Reading features"):
        explained = recommend(user, as_of, k, placement, lines)
    recommended(explained)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 picks a free one.")
    ] = 8080,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
    replay: Annotated[
        bool, typer.Option(help="Fix the clock at the watermark of the lake.")
    ] = False,
) -> None:
    """Serve recommendations over HTTP; API documentation at /docs."""
    from flows.cli.output import terminal
    from flows.runtime import prepare_environment
    from serving.main import load_settings, serve
    from serving.telemetry.logs import log_to_stderr

    log_to_stderr()
    home = prepare_environment()
    clock = "replay, at the lake's watermark" if replay else "wall clock"
    serve(
        load_settings(host=host, port=port, workers=workers, replay=replay),
        lambda url: terminal.console.print(
            f"Serving on {url} ({clock}); state in {home}", soft_wrap=True
        ),
    )


def main() -> None:
    """Runs the command line. Clipwise's own errors end with one sentence and exit code 1."""
    # Feast and Ibis use functions that DuckDB 2 deprecates; a user cannot change that.
    warnings.simplefilter("ignore", DeprecationWarning)
    silence_tools()
    try:
        app()
    except Exception as error:
        # An OSError, such as a read-only folder, names its file; the user can repair it.
        module = type(error).__module__
        if module.split(".")[0] in OWN or module in STORES or isinstance(error, OSError):
            from flows.cli.output import terminal

            terminal.error(error)
        else:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(getattr(error, EXIT_CODE, 1))
