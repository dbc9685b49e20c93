"""The least that the work could cost with the libraries used bare; imports nothing of Clipwise."""

BARE_TYPER = """
import typer
app = typer.Typer(help="Bare.", no_args_is_help=True, add_completion=False,
                  pretty_exceptions_enable=False)
{commands}
app()
"""

COMMAND = '''
@app.command()
def command_{number}(first: str = "a", second: int = 1) -> None:
    """Do the thing with number {number}."""
'''


def bare_help(count: int) -> str:
    """A program whose --help lists as many commands as ours, on Typer alone."""
    commands = "".join(COMMAND.format(number=number) for number in range(count))
    return BARE_TYPER.format(commands=commands)
