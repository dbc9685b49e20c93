"""The example shop with its features online, built once for all test files that start from it."""

import shutil
from pathlib import Path

import pytest

from feature_repo.files import locked
from tests.support.processes import clipwise


def example_home(factory: pytest.TempPathFactory) -> Path:
    """A state folder of the ingested and materialized example shop, for the caller alone.

    The workers of one test run share the original, and each caller gets a copy.
    """
    base = factory.getbasetemp()
    # Each worker of pytest-xdist has a folder of its own below the folder of the run.
    shared = (base.parent if base.name.startswith("popen-") else base) / "example-shop"
    shared.mkdir(exist_ok=True)
    original, done = shared / "home", shared / "done"
    with locked(shared / "lock"):
        if not done.exists():
            shutil.rmtree(original, ignore_errors=True)
            clipwise(original, "ingest", "--source", "files", "--path", "tests/example")
            clipwise(original, "materialize")
            done.touch()
    home = factory.mktemp("example") / "home"
    shutil.copytree(original, home)
    return home
