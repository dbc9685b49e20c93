"""The commands of who lets others in: API keys of the service."""

from typing import Annotated

import typer

keys = typer.Typer(help="Who may call the service, and for what.", no_args_is_help=True)


def _file():
    from flows.runtime import prepare_environment
    from serving.access.api_keys import KeyFile

    return KeyFile(prepare_environment())


@keys.command()
def add(
    name: Annotated[str, typer.Option(help="Whose key it is, in your words.")],
    scope: Annotated[list[str], typer.Option(help="recommend, events or admin; may be repeated.")],
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second and worker; else what CLIPWISE_RATE_LIMIT says."),
    ] = None,
) -> None:
    """Make a key and show it, this once: the file keeps only its hash.

    A running service takes it from the next request on. To replace a key, add a new one, give it to
    its holder, and revoke the old one once nobody sends it any more.
    """
    from flows.cli import terminal
    from flows.runtime import now

    key, token = _file().add(name, scope, now(), rate)
    terminal.errors.print(
        f"Key {key.id} of {key.name} for {', '.join(key.scopes)}. It is not shown again; callers "
        "send it as the header [bold]Authorization: Bearer[/] with this behind it:",
        soft_wrap=True,
        highlight=False,
    )
    typer.echo(token)


@keys.command("list")
def list_keys() -> None:
    """Show every key: its id, whose it is, its scopes, and since when."""
    from flows.cli import terminal

    rows = [
        [key.id, key.name, ", ".join(key.scopes), key.created_at[:19], f"{key.per_second or ''}"]
        for key in _file().read()
    ]
    terminal.table("API keys", ["id", "name", "scopes", "since (UTC)", "a second"], rows, left=4)


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The id, as `clipwise keys list` says.")]):
    """Take a key out: a running service refuses it from the next request on."""
    from flows.cli import terminal

    key = _file().revoke(key_id)
    terminal.console.print(f"Key {key.id} of {key.name} opens nothing any more.", highlight=False)
