"""The service over HTTP, compared with a bare floor and with the pair a user would run instead.

The data are real purchases of the Complete Journey, on the benchmark's own Redis, in replay mode,
with the decision log on. Requests go through all households in turns. The campaigns are synthetic,
so that every request has exactly the number of candidates of its case (``serving_data``).

The load comes from a second process (``load``). Ours and the floor take turns, and every figure is
the median of the repetitions. Each user sends one request before the measurement: a first request
costs more and has its own figures.

The setup is kept below CLIPWISE_HOME/bench and used again, until the format of published features
changes or with ``--fresh``.
"""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks import serving_runs as runs
from tests.benchmarks.competing import progress
from tests.benchmarks.measuring import report, write
from tests.benchmarks.serving_bars import verdicts
from tests.benchmarks.serving_data import Home, home_of, journey
from tests.benchmarks.serving_load_plan import LoadPlan
from tests.benchmarks.serving_prepared import prepared

NAME = "serving"
PARTS = ("latency", "load", "large", "swap", "memory", "ready", "soak")
DEFAULT_PARTS = tuple(part for part in PARTS if part != "soak")
FEW = 100
LARGE = (1_000, 10_000)


def measured(wanted: argparse.Namespace, root: Path) -> Iterator[list[dict]]:
    """Measures; yields all records so far after every part."""
    plan = LoadPlan(wanted.seconds, wanted.warm, wanted.repetitions, wanted.workers)
    small = _home(root, FEW)
    found = list(runs.ceiling(plan, small))
    stock = [1, 8] if wanted.stock else []
    parts = {
        "latency": lambda: runs.beside_the_floor(plan, small, [1], stock[:1]),
        "load": lambda: runs.beside_the_floor(plan, small, [8, 64], stock[1:]),
        "large": lambda: _large(plan, root, wanted.large),
        "swap": lambda: runs.swap(plan, small),
        "memory": lambda: runs.memory(plan, small),
        "ready": lambda: runs.ready(plan, small),
        "soak": lambda: runs.soak(plan, small, wanted.soak_seconds),
    }
    for name in wanted.parts:
        progress(f"part {name}")
        found += parts[name]()
        yield found


def _home(root: Path, candidates: int) -> Home:
    journey(root)
    return prepared(home_of(root, candidates))


def _large(plan: LoadPlan, root: Path, numbers: Sequence[int]) -> list[dict]:
    found = []
    for candidates in numbers:
        found += runs.beside_the_floor(plan, _home(root, candidates), [1], [])
    return found


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the options; by default all parts but the soak run."""
    parser = argparse.ArgumentParser(NAME, description=__doc__)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=DEFAULT_PARTS, help="what to measure"
    )
    parser.add_argument("--seconds", type=float, default=10, help="length of every measured load")
    parser.add_argument(
        "--warm", type=float, default=3, help="seconds of load before each measurement"
    )
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each case")
    parser.add_argument("--workers", type=int, default=1, help="workers of ours and of the floor")
    parser.add_argument(
        "--large", nargs="+", type=int, default=LARGE, help="candidates of the large cases"
    )
    parser.add_argument(
        "--without-stock",
        dest="stock",
        action="store_false",
        help="skip Feast's and MLflow's servers",
    )
    parser.add_argument("--soak-seconds", type=float, default=600, help="length of the soak")
    parser.add_argument("--fresh", action="store_true", help="make the setup again")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] = ()) -> None:
    """Measures, prints the table and the bars, and writes reports/bench/serving.json."""
    from feature_repo.home import resolve_home
    from feature_repo.publication.publish import FORMAT

    wanted = options(arguments)
    home = resolve_home(os.environ.get("CLIPWISE_HOME"))
    root = home / "bench" / f"{NAME}-format-{FORMAT}"
    if wanted.fresh:
        shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    # Exit on SIGTERM by an exception, so that started processes are stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped before the end."))
    progress(f"{wanted.workers} workers on each side, one XGBoost thread each; state in {root}")
    for found in measured(wanted, root):
        write(NAME, home, found)
    report(NAME, home, found)
    for line in verdicts(found):
        print(line)
