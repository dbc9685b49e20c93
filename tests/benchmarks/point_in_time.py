"""Point-in-time joins and materialization, compared with Feast's own stores and with a floor.

Every measurement is a new process on the same two cores. Only the query is timed, after imports and
setup; memory is the peak of the whole process. Ours and the floor run in turns, and the median
counts. Feast's own stores run once, under caps of time and memory.
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

from tests.benchmarks.bars import verdicts
from tests.benchmarks.competing import Runner, progress
from tests.benchmarks.joins import DUCKDB, RUNS, Joins, Size
from tests.benchmarks.materialization import materializations
from tests.benchmarks.measuring import report, write

NAME = "point_in_time"
THREADS = 2
PARTS = ("join", "large", "materialize")


def write_data(folder: Path, wanted: argparse.Namespace) -> None:
    """Writes the data in another process, as memory of this one would count for its children."""
    progress(f"writing missing data to {folder}")
    rows = list(wanted.rows) if "join" in wanted.parts else []
    rows += _large_rows(wanted) if "large" in wanted.parts else []
    command = [sys.executable, "-m", "tests.benchmarks.point_in_time_data", str(folder)]
    command += ["--snapshots", *map(str, _snapshots(wanted)), "--rows", *map(str, rows)]
    command += ["--materialized", str(wanted.entities)] if "materialize" in wanted.parts else []
    subprocess.run(command, check=True)


def _snapshots(wanted: argparse.Namespace) -> list[int]:
    """Returns the snapshot counts that the selected parts read."""
    if "join" in wanted.parts:
        return wanted.snapshots
    return [max(wanted.snapshots)] if "large" in wanted.parts else []


def _large_rows(wanted: argparse.Namespace) -> list[int]:
    return [wanted.large // 10, wanted.large]


def prepare(runs: Sequence[Joins], snapshots: Sequence[int]) -> None:
    """Writes and applies the Feast repositories of all competitors."""
    works = [
        joins.work(name, Size(number, 0), "arrow")
        for joins in runs
        for number in snapshots
        for name in ("ours", DUCKDB, "feast dask")
    ]
    subprocess.run([sys.executable, "-m", RUNS, json.dumps({"prepare": works})], check=True)


def measured(wanted: argparse.Namespace, folder: Path) -> Iterator[list[dict]]:
    """Measures; yields all records so far after every step."""
    data = wanted.data or folder / "data"
    write_data(data, wanted)
    runner = Runner(folder, wanted.repetitions, wanted.cap_gigabytes, wanted.cap_seconds)
    small = Joins(runner, data, wanted.memory_limit, THREADS)
    large = Joins(runner, data, wanted.large_memory_limit, THREADS)
    if _snapshots(wanted):
        prepare((small, large), _snapshots(wanted))
    if "join" in wanted.parts:
        sizes = [Size(*both) for both in itertools.product(wanted.snapshots, wanted.rows)]
        for _ in small.run_ours(sizes, ("arrow", "pandas")):
            yield small.records()
    if "large" in wanted.parts:
        sizes = [Size(max(wanted.snapshots), rows) for rows in _large_rows(wanted)]
        for _ in large.run_ours(sizes, ("file",)):
            yield small.records() + large.records()
    written: list[dict] = []
    if "materialize" in wanted.parts:
        for records in materializations(runner, data, wanted.entities, wanted.peers):
            written += records
            yield small.records() + large.records() + written
    if wanted.peers and small.runs:
        for _ in small.run_peers(wanted.without):
            yield small.records() + large.records() + written


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the options; by default everything runs."""
    parser = argparse.ArgumentParser(NAME, description=__doc__)
    add, sizes = parser.add_argument, [10_000, 100_000, 1_000_000]
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    add("--rows", nargs="+", type=int, default=sizes, help="entity rows of the joins")
    add("--snapshots", nargs="+", type=int, default=[52, 365], help="snapshots of the year")
    add("--large", type=int, default=10_000_000, help="entity rows of the join from file to file")
    add("--entities", type=int, default=100_000, help="entities to materialize")
    add("--repetitions", type=int, default=3, help="runs of ours and the floor")
    add("--without-peers", dest="peers", action="store_false", help="measure ours and the floor")
    add("--without", nargs="+", default=[], help="peers to leave out, such as 'feast dask'")
    add("--memory-limit", default="4GB", help="memory limit of DuckDB, for ours and the floor")
    add("--large-memory-limit", default="2GB", help="the same for the join from file to file")
    add("--cap-gigabytes", type=float, default=12, help="memory at which a peer is stopped")
    add("--cap-seconds", type=float, help="time at which a peer is stopped; default: 100 x ours")
    add("--data", type=Path, help="folder of existing data to use")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] = ()) -> None:
    """Measures, prints the table and the bars, and writes reports/bench/point_in_time.json."""
    from feature_repo.home import resolve_home

    wanted = options(arguments)
    home = resolve_home(os.environ.get("CLIPWISE_HOME"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    home.mkdir(parents=True, exist_ok=True)
    # Exit on SIGTERM by an exception, so that started processes are stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped before the end."))
    progress(
        f"{THREADS} cores; DuckDB for ours and the floor: {THREADS} threads, "
        f"{wanted.memory_limit}, from file to file {wanted.large_memory_limit}"
    )
    with tempfile.TemporaryDirectory(dir=home, prefix="bench-") as folder:
        for found in measured(wanted, Path(folder)):
            write(NAME, home, found)
    report(NAME, home, found)
    for line in verdicts(found):
        print(line)
