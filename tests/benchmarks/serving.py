"""The service over HTTP, beside a bare floor and the pair that a user would run instead.

Real purchases of the Complete Journey on a Redis of the benchmark's own, users in turns over all
households, the decision log on, replay mode; the campaigns are made up, so that every request has
exactly as many candidates as the case says (``serving_data``). The load comes from a second process
(``load``), ours and the floor take turns, and every figure is the median of the repetitions.
Everybody is asked once before: a first request costs more than a later one, and has figures of its
own. What the set-up makes is kept below CLIPWISE_HOME/bench and used again, until features are
published in another format or ``--fresh`` is said.
"""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks import serving_runs as runs
from tests.benchmarks.competing import say
from tests.benchmarks.measuring import report, write
from tests.benchmarks.serving_bars import judged
from tests.benchmarks.serving_course import Course
from tests.benchmarks.serving_data import Home, home_of, journey
from tests.benchmarks.serving_prepared import prepared

NAME = "serving"
PARTS = ("latency", "load", "large", "swap", "memory", "ready", "soak")
USUAL = tuple(part for part in PARTS if part != "soak")
FEW = 100
LARGE = (1_000, 10_000)


def measured(wanted: argparse.Namespace, root: Path) -> Iterator[list[dict]]:
    """All records so far, after every part."""
    course = Course(wanted.seconds, wanted.warm, wanted.repetitions, wanted.workers)
    small = _home(root, FEW)
    found = list(runs.ceiling(course, small))
    stock = [1, 8] if wanted.stock else []
    parts = {
        "latency": lambda: runs.beside_the_floor(course, small, [1], stock[:1]),
        "load": lambda: runs.beside_the_floor(course, small, [8, 64], stock[1:]),
        "large": lambda: _large(course, root, wanted.large),
        "swap": lambda: runs.swap(course, small),
        "memory": lambda: runs.memory(course, small),
        "ready": lambda: runs.ready(course, small),
        "soak": lambda: runs.soak(course, small, wanted.soak_seconds),
    }
    for name in wanted.parts:
        say(f"part {name}")
        found += parts[name]()
        yield found


def _home(root: Path, candidates: int) -> Home:
    journey(root)
    return prepared(home_of(root, candidates))


def _large(course: Course, root: Path, numbers: Sequence[int]) -> list[dict]:
    found = []
    for candidates in numbers:
        found += runs.beside_the_floor(course, _home(root, candidates), [1], [])
    return found


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """All but the soak unless something else is asked for."""
    parser = argparse.ArgumentParser(NAME, description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=USUAL)
    parser.add_argument("--seconds", type=float, default=10, help="of every load that counts")
    parser.add_argument("--warm", type=float, default=3, help="seconds of load before them")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="of ours and of the floor")
    parser.add_argument("--large", nargs="+", type=int, default=LARGE, help="candidates")
    parser.add_argument("--without-stock", dest="stock", action="store_false")
    parser.add_argument("--soak-seconds", type=float, default=600)
    parser.add_argument("--fresh", action="store_true", help="make everything anew")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, print the table and the bars, and write reports/bench/serving.json."""
    from feature_repo.home import resolve_home
    from feature_repo.publication.publish import FORMAT

    wanted = options(arguments)
    home = resolve_home(os.environ.get("CLIPWISE_HOME"))
    root = home / "bench" / f"{NAME}-format-{FORMAT}"
    if wanted.fresh:
        shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    # Whoever ends this process ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped before the end."))
    say(f"{wanted.workers} workers on each side, one XGBoost thread each; state in {root}")
    for found in measured(wanted, root):
        write(NAME, home, found)
    report(NAME, home, found)
    for line in judged(found):
        print(line)
