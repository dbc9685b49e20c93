"""The point-in-time join and materialization, beside what Feast ships and what is least possible.

Every measurement is a cold process of its own on the same two cores: the query alone is timed,
after imports and set-up, and memory is the peak of the whole process. Ours and the floor run in
turns and count with the median; what Feast ships runs once, under caps of time and memory.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.bars import judged
from tests.benchmarks.competing import Ring, say
from tests.benchmarks.joins import DUCKDB, RUNS, Joins, Size
from tests.benchmarks.materialization import materializations
from tests.benchmarks.measuring import report, write

NAME = "point_in_time"
THREADS = 2
PARTS = ("join", "large", "materialize")


def write_data(folder: Path, wanted: argparse.Namespace) -> None:
    """In a process of its own: what this one holds would count as the memory of its children."""
    say(f"writing what is missing of the data to {folder}")
    rows = list(wanted.rows) if "join" in wanted.parts else []
    rows += _large_rows(wanted) if "large" in wanted.parts else []
    command = [sys.executable, "-m", "tests.benchmarks.point_in_time_data", str(folder)]
    command += ["--snapshots", *map(str, _snapshots(wanted)), "--rows", *map(str, rows)]
    command += ["--materialized", str(wanted.entities)] if "materialize" in wanted.parts else []
    subprocess.run(command, check=True)


def _snapshots(wanted: argparse.Namespace) -> list[int]:
    """Those that some part of the run reads."""
    if "join" in wanted.parts:
        return wanted.snapshots
    return [max(wanted.snapshots)] if "large" in wanted.parts else []


def _large_rows(wanted: argparse.Namespace) -> list[int]:
    return [wanted.large // 10, wanted.large]


def prepare(runs: Sequence[Joins], snapshots: Sequence[int]) -> None:
    """Write and apply the Feast repositories of all that will run."""
    works = [
        joins.work(name, Size(number, 0), "arrow")
        for joins in runs
        for number in snapshots
        for name in ("ours", DUCKDB, "feast dask")
    ]
    subprocess.run([sys.executable, "-m", RUNS, json.dumps({"prepare": works})], check=True)


def measured(wanted: argparse.Namespace, folder: Path) -> Iterator[list[dict]]:
    """All records so far, after every step."""
    data = wanted.data or folder / "data"
    write_data(data, wanted)
    ring = Ring(folder, wanted.repetitions, wanted.cap_gigabytes, wanted.cap_seconds)
    small = Joins(ring, data, wanted.memory_limit, THREADS)
    large = Joins(ring, data, wanted.large_memory_limit, THREADS)
    if _snapshots(wanted):
        prepare((small, large), _snapshots(wanted))
    if "join" in wanted.parts:
        sizes = [Size(*both) for both in itertools.product(wanted.snapshots, wanted.rows)]
        for _ in small.ours(sizes, ("arrow", "pandas")):
            yield small.records()
    if "large" in wanted.parts:
        sizes = [Size(max(wanted.snapshots), rows) for rows in _large_rows(wanted)]
        for _ in large.ours(sizes, ("file",)):
            yield small.records() + large.records()
    written: list[dict] = []
    if "materialize" in wanted.parts:
        for records in materializations(ring, data, wanted.entities, wanted.peers):
            written += records
            yield small.records() + large.records() + written
    if wanted.peers and small.runs:
        for _ in small.peers(wanted.without):
            yield small.records() + large.records() + written


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The whole benchmark unless something smaller is asked for."""
    parser = argparse.ArgumentParser(NAME, description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--snapshots", nargs="+", type=int, default=[52, 365])
    parser.add_argument("--large", type=int, default=10_000_000, help="entity rows file to file")
    parser.add_argument("--entities", type=int, default=100_000, help="entities to materialize")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--without-peers", dest="peers", action="store_false")
    parser.add_argument("--without", nargs="+", default=[], help="such as 'feast dask'")
    parser.add_argument("--memory-limit", default="4GB", help="of DuckDB, ours and the floor")
    parser.add_argument("--large-memory-limit", default="2GB", help="the same, file to file")
    parser.add_argument("--cap-gigabytes", type=float, default=12, help="where a peer is stopped")
    parser.add_argument("--cap-seconds", type=float, help="default: 100 x our time")
    parser.add_argument("--data", type=Path, help="a folder of data to use again")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, print the table and the bars, and write reports/bench/point_in_time.json."""
    from feature_repo.home import resolve_home

    wanted = options(arguments)
    home = resolve_home(os.environ.get("CLIPWISE_HOME"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    home.mkdir(parents=True, exist_ok=True)
    # Whoever ends this process ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped before the end."))
    say(
        f"{THREADS} cores; DuckDB of ours and of the floor: {THREADS} threads, "
        f"{wanted.memory_limit}, file to file {wanted.large_memory_limit}"
    )
    with tempfile.TemporaryDirectory(dir=home, prefix="bench-") as folder:
        for found in measured(wanted, Path(folder)):
            write(NAME, home, found)
    report(NAME, home, found)
    for line in judged(found):
        print(line)
