"""The command line. Everything heavy is imported by the command that needs it."""

import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import models, studies
from flows.cli.keys import keys
from flows.cli.studies import Version

app = typer.Typer(
    name="clipwise",
    help="Decides which coupon to show to whom, and runs the loop that makes it good.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


features = typer.Typer(help="Look into the published features.", no_args_is_help=True)
app.add_typer(features, name="features")
app.add_typer(keys, name="keys")


class Source(StrEnum):
    complete_journey = "complete_journey"
    files = "files"


AsOf = Annotated[
    str | None, typer.Option(help="An instant with its zone, such as 2017-12-01T00:00:00Z.")
]
Ids = Annotated[list[str] | None, typer.Option(help="Only this one, by id; may be repeated.")]

OWN = ("feature_repo", "validation", "training", "serving", "flows")
STORES = ("redis.exceptions",)
"""Whose errors name the server that does not answer."""


@app.command()
def demo() -> None:
    """Run the whole loop on a year of real grocery data, and end."""
    from flows.cli.demo import demo

    demo()


@app.command()
def ingest(
    source: Annotated[Source, typer.Option(help="Where the rows come from.")] = (
        Source.complete_journey
    ),
    path: Annotated[Path | None, typer.Option(help="The folder, for the source files.")] = None,
    as_of: AsOf = None,
    max_failure_share: Annotated[
        float, typer.Option(min=0, max=1, help="Stop above this share of failing rows of a table.")
    ] = 0.01,
) -> None:
    """Bring a source's rows into the lake: checked, whole, and each once."""
    from flows.cli import terminal
    from flows.ingest import ingest
    from flows.runtime import run

    with terminal.progress("Ingest"):
        result = run(
            ingest,
            source=source.value,
            path=str(path) if path else None,
            as_of=as_of,
            max_failure_share=max_failure_share,
        )
    terminal.ingested(result)


@app.command()
def lake(version: Version = None) -> None:
    """Show what the lake holds: tables, versions, rows, bytes, time range, watermark."""
    from feature_repo.lake.reader import Lake
    from flows.cli import terminal
    from flows.runtime import prepare_environment

    terminal.lake_state(Lake(prepare_environment()).state(version))


@app.command()
def quarantine(
    table: Annotated[str | None, typer.Option(help="Only this table's rows.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most rows to show.")] = 20,
    export: Annotated[
        Path | None, typer.Option(help="Write all to this new folder, to repair and ingest again.")
    ] = None,
    discard: Annotated[
        str | None, typer.Option(help="Take the row with this id (or its beginning) out for good.")
    ] = None,
) -> None:
    """List the rows that may not land, each with its rule and reason."""
    from flows.cli import terminal
    from flows.cli.quarantine import exported, given_up, held

    if discard:
        given_up(discard)
    rows = held(table)
    terminal.quarantined(rows[:limit], len(rows))
    if export:
        terminal.console.print(f"Wrote {exported(rows, export)}.")


@app.command()
def materialize(as_of: AsOf = None) -> None:
    """Bring the newest features of every user, product and coupon online."""
    from flows.cli import terminal
    from flows.materialize import materialize
    from flows.runtime import run

    with terminal.progress("Materialize"):
        until = run(materialize, as_of=as_of)
    terminal.console.print(
        f"Online features are complete up to [bold]{terminal.instant(until)}[/]."
    )


@app.command()
def train(
    lake_version: Version = None,
    test_start: Annotated[
        str | None,
        typer.Option(help="Test exposures start here; by default 92 days before the watermark."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seeds the trees and the bootstrap.")] = 2017,
) -> None:
    """Train a ranker, compare it with the plain rules, and register what passes the gate."""
    from flows.cli import metric_tables, terminal
    from flows.retrain import retrain
    from flows.runtime import run

    with terminal.progress("Train"):
        result = run(retrain, lake_version=lake_version, test_start=test_start, seed=seed)
    metric_tables.metrics(result.evaluation.table)
    terminal.decision(result.decision)
    terminal.console.print(f"Registered as coupon_ranker version {result.version}.")
    terminal.console.print(f"Report: {result.report}")


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
    k: Annotated[int, typer.Option(min=1, max=100, help="How many coupons.")] = 10,
) -> None:
    """Rank a user's coupons as of an instant, from the offline store, with readable names."""
    from flows.cli import terminal
    from flows.offline_recommendation import recommend

    with terminal.errors.status("Reading features as of the instant"):
        explained = recommend(user, as_of, k)
    terminal.recommended(explained)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
    replay: Annotated[
        bool, typer.Option(help="Stand still at the lake's watermark instead of the wall clock.")
    ] = False,
) -> None:
    """Answer the shop over HTTP; the pages are at /docs."""
    from flows.cli import terminal
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


@features.command()
def diff(
    from_version: Annotated[
        int | None, typer.Option("--from", help="A lake version; by default the one before --to.")
    ] = None,
    to_version: Annotated[
        int | None, typer.Option("--to", help="The other; by default the current one.")
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="Compare history with the online store instead.")
    ] = False,
    as_of: AsOf = None,
    entities: Annotated[
        int, typer.Option(min=1, help="Sample so many users, products and coupons each.")
    ] = 200,
    seed: Annotated[int, typer.Option(help="Another seed samples others.")] = 0,
    user: Ids = None,
    product: Ids = None,
    coupon: Ids = None,
    view: Annotated[
        list[str] | None, typer.Option(help="Only this feature view; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most features to show.")] = 30,
    json: Annotated[
        Path | None, typer.Option(help="Write all that differs to this new file as well.")
    ] = None,
) -> None:
    """Show which features differ between two lake versions, or offline and online.

    Lake versions are compared as of the earlier one's watermark, unless --as-of names an instant.
    Ends like diff: with 0 if both sides answer alike, 1 if they differ, 2 if that cannot be said.
    """
    named = {"user": user or [], "product": product or [], "coupon": coupon or []}
    with models.answering():
        from flows.cli import terminal
        from flows.compare.features import Choice, diff, exported

        with terminal.progress("Compare"):
            choice = Choice(view or [], named, entities, seed)
            found = diff(from_version, to_version, as_of, online, choice)
        terminal.differences(found, limit)
        if json:
            exported(found, json)
    raise typer.Exit(1 if found.differences else 0)


def main() -> None:
    """Run the command line; an error of Clipwise's own is a sentence and exit code 1."""
    # Feast and Ibis use what DuckDB 2 calls deprecated; a user cannot do anything about that.
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        app()
    except Exception as error:
        # A folder that cannot be written is the user's to mend as well, and says what it is.
        module = type(error).__module__
        if module.split(".")[0] in OWN or module in STORES or isinstance(error, OSError):
            from flows.cli import terminal

            terminal.error(error)
        else:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(getattr(error, "exit_code", 1))
