"""Floors: the work done with bare libraries, as cheaply as possible, without any Clipwise code."""

from collections.abc import Iterator, Sequence
from pathlib import Path

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

SQLITE_TABLE = (
    "CREATE TABLE floor (entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT, "
    "event_ts timestamp, created_ts timestamp, PRIMARY KEY (entity_key, feature_name))"
)
BATCH = 10_000


def bare_help(count: int) -> str:
    """Returns a program whose --help lists as many commands as ours, with Typer only."""
    commands = "".join(COMMAND.format(number=number) for number in range(count))
    return BARE_TYPER.format(commands=commands)


def as_of_join(
    views: Sequence[tuple[Path, str, Sequence[str]]],
    entities,
    threads: int,
    memory_limit: str,
    spill: Path,
    ordered: bool = False,
):
    """Returns DuckDB's as-of join of entity rows with Parquet files, as a relation not yet run.

    ``views`` are (file, join key, features). ``entities`` is a data frame or the path of a Parquet
    file. The result has the entity columns and all features, in the order of the entity rows only
    if ``ordered``, for which DuckDB sorts.
    """
    import duckdb

    settings = {"threads": threads, "memory_limit": memory_limit, "temp_directory": str(spill)}
    connection = duckdb.connect(config=settings)
    if isinstance(entities, Path):
        rows = f"(SELECT *, file_row_number AS row FROM read_parquet('{entities}', "
        rows += "file_row_number = true))"
    else:
        connection.register("entity_rows", entities.assign(row=range(len(entities))))
        rows = "entity_rows"
    columns = [f"e.{key}" for _, key, _ in views] + ["e.event_timestamp"]
    columns += [f"v{n}.{name}" for n, (_, _, names) in enumerate(views) for name in names]
    joins = " ".join(
        f"ASOF LEFT JOIN read_parquet('{path}') v{n} ON e.{key} = v{n}.{key} "
        f"AND e.event_timestamp > v{n}.event_timestamp"
        for n, (path, key, _) in enumerate(views)
    )
    order = " ORDER BY e.row" if ordered else ""
    return connection.sql(f"SELECT {', '.join(columns)} FROM {rows} e {joins}{order}")


def redis_rows(entities: int, floats: int, vector: int) -> list[tuple[bytes, dict]]:
    """Returns hashes with as many bytes as Feast stores per entity, made before the timing."""
    double = b"\x29" + bytes(8)
    values = {number.to_bytes(4, "big"): double for number in range(floats)}
    values |= {b"vect": b"\x6a" + bytes(8 * vector + 4), b"_ts:user_stats": bytes(6)}
    return [(b"user_id-of-an-entity" + n.to_bytes(16, "big"), values) for n in range(entities)]


def write_redis(port: int, rows: Sequence[tuple[bytes, dict]]) -> None:
    """Writes one plain HSET per entity, in pipelines, without reading stored values."""
    import redis

    client = redis.Redis(port=port)
    for batch in _batches(rows):
        with client.pipeline(transaction=False) as pipe:
            for key, values in batch:
                pipe.hset(key, mapping=values)
            pipe.execute()


def sqlite_rows(entities: int, floats: int, vector: int) -> list[tuple]:
    """Returns one row per feature, as in Feast's table, made before the timing."""
    values = {f"user_{number:02}": b"\x29" + bytes(8) for number in range(floats)}
    values["user_vector"] = b"\x6a" + bytes(8 * vector + 4)
    return [
        (b"user_id-of-an-entity" + n.to_bytes(16, "big"), name, value, None, 0, 0)
        for n in range(entities)
        for name, value in values.items()
    ]


def write_sqlite(path: Path, rows: Sequence[tuple]) -> None:
    """Inserts rows into an empty table, one transaction per batch."""
    import sqlite3

    connection = sqlite3.connect(path)
    connection.execute(SQLITE_TABLE)
    for batch in _batches(rows):
        with connection:
            connection.executemany("INSERT INTO floor VALUES (?, ?, ?, ?, ?, ?)", batch)
    connection.close()


def _batches(rows: Sequence) -> Iterator[Sequence]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
