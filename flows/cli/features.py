"""The command ``clipwise features diff``."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.conventions import AsOf, errors_exit_with_2

features = typer.Typer(help="Inspect the published features.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Option(help="Only this id; can be repeated.")]
From = Annotated[
    int | None, typer.Option("--from", help="A lake version; by default the one before --to.")
]
To = Annotated[
    int | None, typer.Option("--to", help="Another version; by default the current one.")
]
Online = Annotated[
    bool, typer.Option("--online", help="Compare the offline store with the online store.")
]
Entities = Annotated[
    int, typer.Option(min=1, help="Sample this many users, products and coupons each.")
]
Seed = Annotated[int, typer.Option(help="Seed of the sample.")]
Views = Annotated[list[str] | None, typer.Option(help="Only this feature view; can be repeated.")]
Limit = Annotated[int, typer.Option(min=1, help="Maximum number of differences.")]
Json = Annotated[Path | None, typer.Option(help="Also write all differences to this new file.")]


@features.command()
def diff(
    from_version: From = None,
    to_version: To = None,
    online: Online = False,
    as_of: AsOf = None,
    entities: Entities = 200,
    seed: Seed = 0,
    user: Ids = None,
    product: Ids = None,
    coupon: Ids = None,
    view: Views = None,
    limit: Limit = 30,
    json: Json = None,
) -> None:
    """Show features that differ between lake versions, or offline and online.

    Two lake versions are compared as of the earlier watermark, unless --as-of
    names an instant. The exit code is 0 if both sides agree, 1 if they differ,
    and 2 on an error.
    """
    named = {"user": user or [], "product": product or [], "coupon": coupon or []}
    with errors_exit_with_2():
        from flows.cli.output import terminal
        from flows.cli.output.features import differences
        from flows.compare.comparison import Selection, write_json
        from flows.compare.features import DiffOptions, diff

        selection = Selection(view or [], named, entities, seed)
        with terminal.progress("Compare"):
            found = diff(DiffOptions(from_version, to_version, as_of, online, selection))
        differences(found, limit)
        if json:
            write_json(found, json)
    raise typer.Exit(1 if found.differences else 0)
