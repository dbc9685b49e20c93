"""Times of a newcomer's first commands: demo, features of the year, --help, unit tests."""

import os
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.floors import bare_help
from tests.benchmarks.measuring import cost, median_cost, record, report

CLIPWISE = str(Path(sys.executable).with_name("clipwise"))
COMMANDS = 9
BUILD = """
import sys
from pathlib import Path
from feature_repo.lake import Lake
from feature_repo.publication.publish import published
lake = Lake(Path(sys.argv[1]))
published(lake, lake.state())
"""


def main() -> None:
    """Measures, prints, and writes reports/bench/backbone.json below CLIPWISE_HOME."""
    from feature_repo.home import resolve_home

    home = resolve_home(os.environ.get("CLIPWISE_HOME"))
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "home"
        records = [*_demo(fresh), *_features(fresh), *_help(), *_unit_tests()]
    report("backbone", home, records)


def _demo(home: Path) -> list[dict]:
    spent = cost([CLIPWISE, "demo"], {"CLIPWISE_HOME": str(home)})
    return [
        record("demo, full year", "time", "s", spent.seconds),
        record("demo, full year", "peak memory", "MB", spent.megabytes),
    ]


def _features(home: Path) -> list[dict]:
    """Builds all views of the year three times, each time in a new process."""
    runs = []
    for number in range(3):
        (home / "features").rename(home / f"built-{number}")
        runs.append(cost([sys.executable, "-c", BUILD, str(home)]))
    ours = sorted(runs, key=lambda run: run.seconds)[1]
    return [
        record("features of the year", "time", "s", ours.seconds),
        record("features of the year", "peak memory", "MB", ours.megabytes),
    ]


def _help() -> list[dict]:
    ours = median_cost([CLIPWISE, "--help"], 9)
    floor = median_cost([sys.executable, "-c", bare_help(COMMANDS), "--help"], 9)
    return [record("clipwise --help", "time", "ms", ours.seconds * 1e3, floor.seconds * 1e3)]


def _unit_tests() -> list[dict]:
    spent = median_cost([sys.executable, "-m", "pytest", "-q", "tests/unit"], 1)
    return [record("unit tests", "time", "s", spent.seconds)]
