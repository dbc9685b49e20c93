"""Materialization to SQLite and Redis in entities per second: Feast, ours, plain writes."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.competing import Runner, median_of, progress, records
from tests.benchmarks.measuring import Cost, record

RUNS = "tests.benchmarks.materialization_runs"
START = 10
"""Seconds within which a Redis server must accept connections."""


def materializations(
    runner: Runner, data: Path, entities: int, peers: bool
) -> Iterator[list[dict]]:
    """Yields the records of both stores; without redis-server, a note in place of the values."""
    yield _of_store(runner, data, entities, peers, "sqlite", 0)
    if not shutil.which("redis-server"):
        missing = "no redis-server on this machine"
        yield [record(_case(entities, "redis"), "rate", "entities/s", missing)]
        return
    with redis_server(runner.folder / "redis") as port:
        yield _of_store(runner, data, entities, peers, "redis", port)


def _case(entities: int, store: str) -> str:
    return f"materialize {entities:,} entities, {store}"


def _of_store(
    runner: Runner, data: Path, entities: int, peers: bool, store: str, port: int
) -> list[dict]:
    case = _case(entities, store)

    def spec(competitor: str) -> dict:
        work = {"competitor": competitor, "store": store, "entities": entities}
        return work | {"data": str(data), "port": port}

    runs = runner.run_in_turns(case, RUNS, [spec("ours"), spec("floor")])
    if peers:
        cap = runner.cap([median_of(runs["ours"])])
        runs["feast"] = [runner.run_once(case, RUNS, spec("feast"), cap)]
    return [_rate(case, entities, runs), *records(case, runs)]


def _rate(case: str, entities: int, runs: dict) -> dict:
    costs = {name: median_of(done) for name, done in runs.items()}
    rates = {
        name: entities / cost.seconds if isinstance(cost, Cost) else cost
        for name, cost in costs.items()
    }
    return record(case, "rate", "entities/s", rates.pop("ours"), rates.pop("floor"), rates)


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """Starts a Redis server without persistence; yields its port, stops it at the end."""
    folder.mkdir()
    port = _free_port()
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        ["redis-server", *settings, "--dir", str(folder)], stdout=subprocess.DEVNULL
    )
    try:
        _wait(port)
        progress(f"redis-server on port {port}")
        yield port
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def _wait(port: int) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"Expected a redis-server on port {port} within {START} s, got none.")
