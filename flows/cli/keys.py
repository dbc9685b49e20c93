"""The commands ``clipwise keys``: API keys of the service."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serving.access.api_keys import KeyFile

keys = typer.Typer(help="Manage the API keys of the service.", no_args_is_help=True)


def _file() -> "KeyFile":
    from flows.runtime import prepare_environment
    from serving.access.api_keys import KeyFile

    return KeyFile(prepare_environment())


@keys.command()
def add(
    name: Annotated[str, typer.Option(help="A name for the holder of the key.")],
    scope: Annotated[list[str], typer.Option(help="recommend, events or admin; can be repeated.")],
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second and worker; by default CLIPWISE_RATE_LIMIT."),
    ] = None,
) -> None:
    """Make a key and print it once; the file keeps only its hash.

    A running service accepts the key from the next request on. To replace a
    key, add a new one, hand it to its holder, and revoke the old one when the
    holder uses the new one.
    """
    from flows.cli.output import terminal
    from flows.runtime import now

    key, token = _file().add(name, scope, now(), rate)
    terminal.errors.print(
        f"Key {key.id} of {key.name} for {', '.join(key.scopes)}. It is not shown again. Callers "
        "send it in the header [bold]Authorization: Bearer[/], followed by this key:",
        soft_wrap=True,
        highlight=False,
    )
    typer.echo(token)


@keys.command("list")
def list_keys() -> None:
    """List the keys: id, holder, scopes, day of creation, rate limit."""
    from flows.cli.output import terminal

    rows = [
        [key.id, key.name, ", ".join(key.scopes), key.created_at[:19], f"{key.per_second or ''}"]
        for key in _file().read()
    ]
    head = ["id", "name", "scopes", "created (UTC)", "requests a second"]
    terminal.table("API keys", head, rows, left=4)


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id, as `clipwise keys list` prints it.")],
) -> None:
    """Revoke a key: a running service refuses it from the next request on."""
    from flows.cli.output import terminal

    key = _file().revoke(key_id)
    terminal.console.print(f"Key {key.id} of {key.name} is revoked.", highlight=False)
