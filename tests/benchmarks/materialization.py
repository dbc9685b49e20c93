"""Materializing to SQLite and to Redis: Feast's own, ours, and plain writes, entities a second."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.competing import Ring, middle, records, say
from tests.benchmarks.measuring import Cost, record

RUNS = "tests.benchmarks.materialization_runs"
START = 10
"""Seconds in which a Redis server must be there."""


def materializations(ring: Ring, data: Path, entities: int, peers: bool) -> Iterator[list[dict]]:
    """The records of both stores; without a redis-server, a word in place of its values."""
    yield _of_store(ring, data, entities, peers, "sqlite", 0)
    if not shutil.which("redis-server"):
        missing = "no redis-server on this machine"
        yield [record(_case(entities, "redis"), "rate", "entities/s", missing)]
        return
    with redis_server(ring.folder / "redis") as port:
        yield _of_store(ring, data, entities, peers, "redis", port)


def _case(entities: int, store: str) -> str:
    return f"materialize {entities:,} entities, {store}"


def _of_store(
    ring: Ring, data: Path, entities: int, peers: bool, store: str, port: int
) -> list[dict]:
    case = _case(entities, store)

    def spec(competitor: str) -> dict:
        work = {"competitor": competitor, "store": store, "entities": entities}
        return work | {"data": str(data), "port": port}

    runs = ring.turns(case, RUNS, [spec("ours"), spec("floor")])
    if peers:
        cap = ring.cap([middle(runs["ours"])])
        runs["feast"] = [ring.once(case, RUNS, spec("feast"), cap)]
    return [_rate(case, entities, runs), *records(case, runs)]


def _rate(case: str, entities: int, runs: dict) -> dict:
    costs = {name: middle(done) for name, done in runs.items()}
    rates = {
        name: entities / cost.seconds if isinstance(cost, Cost) else cost
        for name, cost in costs.items()
    }
    return record(case, "rate", "entities/s", rates.pop("ours"), rates.pop("floor"), rates)


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """The port of a Redis server of our own that keeps nothing on disk, stopped at the end."""
    folder.mkdir()
    port = _free_port()
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        ["redis-server", *settings, "--dir", str(folder)], stdout=subprocess.DEVNULL
    )
    try:
        _wait(port)
        say(f"redis-server on port {port}")
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
