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

NINE_SUMS = """
import duckdb
connection = duckdb.connect()
connection.execute("SET threads = 2")
connection.execute("SET memory_limit = '2GB'")
windows = ", ".join(
    f"sum({{m}}) OVER (PARTITION BY user_id ORDER BY day RANGE BETWEEN {{days}} PRECEDING "
    f"AND CURRENT ROW) AS {{m}}_{{days}}"
    for m in ("n", "spend", "discount") for days in (7, 30, 90))
connection.execute(
    f"COPY (SELECT *, {{windows}} FROM (SELECT user_id, epoch_us(event_timestamp) // 86400000000 "
    f"AS day, count(*) AS n, sum(amount) AS spend, sum(retail_discount) AS discount "
    f"FROM read_parquet({files}) GROUP BY ALL)) TO '{target}' (FORMAT parquet)")
"""


def bare_help(count: int) -> str:
    """A program whose --help lists as many commands as ours, on Typer alone."""
    commands = "".join(COMMAND.format(number=number) for number in range(count))
    return BARE_TYPER.format(commands=commands)


def nine_sums(files: list[str], target: str) -> str:
    """A program that writes nine windowed sums a user and day, on DuckDB alone."""
    return NINE_SUMS.format(files=files, target=target)
