"""A foreign Feast repository that names our offline store, used from inside and from outside.

Its folder is a package called ``feature_repo``, as Feast's own template makes it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import taxi
from tests.support.taxi import HOUR, T0

FEAST = str(Path(sys.executable).with_name("feast"))
ROWS = {
    "driver_stats": [
        (1, 5, 4.5, "Ann", True, [1.0], T0, T0),
        (1, 6, 4.5, "Ann", True, [1.0], T0 + HOUR, T0 + 3 * HOUR),
    ],
    "weather": [(7, 20.5, T0, T0)],
}
READ = """
import json, sys
import pandas as pd
from feast import FeatureStore
store = FeatureStore(repo_path=sys.argv[1])
at = ["2024-03-01T12:00Z", "2024-03-01T14:00Z", "2024-03-01T15:00:00.000001Z"]
rows = pd.DataFrame({"driver_id": [1, 1, 1], "event_timestamp": at})
found = store.get_historical_features(rows, ["driver_stats:trips"]).to_arrow()
online = store.get_online_features(["driver_stats:trips"], [{"driver_id": 1}]).to_dict()
print(json.dumps([found["trips"].to_pylist(), online["trips"]]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    repository = tmp_path_factory.mktemp("city") / "feature_repo"
    taxi.write(repository, {"type": taxi.OURS}, ROWS)
    (repository / "__init__.py").write_text("")
    return repository


def output_of(command: list[str], where: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "CLIPWISE_HOME"}
    environment |= {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


PLACES = {"inside": (lambda folder: folder, "."), "outside": (lambda f: f.parent, "feature_repo")}


@pytest.mark.parametrize("place", PLACES)
def test_feast_s_commands_and_its_python_work(folder, place):
    where, path = PLACES[place][0](folder), PLACES[place][1]
    span = ["2024-03-01T00:00:00", "2024-03-01T14:00:00"]
    if place == "inside":
        output_of([FEAST, "apply"], where)
        output_of([FEAST, "materialize", *span], where)
    else:
        output_of([FEAST, "-c", path, "apply"], where)
        output_of([FEAST, "-c", path, "materialize", *span], where)
    history, online = json.loads(
        output_of([sys.executable, "-c", READ, path], where).splitlines()[-1]
    )
    assert history == [None, 5, 6] and online == [5]


def test_nothing_is_written_beside_the_repository(folder):
    assert sorted(path.name for path in folder.parent.iterdir()) == ["feature_repo"]
    found = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert found == {"__init__.py", "data", "definitions.py", "feature_store.yaml"}
