"""The house: which room may import which, and where the heavy libraries may be.

A room is a package with a docstring, or a module at the top of ``serving`` or ``feature_repo``.
``flows`` and ``validation`` are a room each, beside their sub-packages.
"""

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.support.places import ROOT

FOLDERS = ("feature_repo", "validation", "training", "serving", "flows")

# Each room, and the rooms that it imports. A new arrow is a decision: add it here by hand.
ROOMS: Mapping[str, str] = {
    "feature_repo.contract": "feature_repo.names",
    "feature_repo.definitions": "feature_repo.views",
    "feature_repo.feast_internals": "",
    "feature_repo.feast_registry": "feature_repo.feast_internals feature_repo.home",
    "feature_repo.files": "",
    "feature_repo.home": "",
    "feature_repo.instants": "",
    "feature_repo.lake": "feature_repo.contract feature_repo.files feature_repo.instants",
    "feature_repo.materialization": "feature_repo.online.materialize",
    "feature_repo.names": "",
    "feature_repo.offline": (
        "feature_repo.contract feature_repo.feast_internals feature_repo.home "
        "feature_repo.instants feature_repo.lake feature_repo.publication "
        "feature_repo.views"
    ),
    "feature_repo.online": (
        "feature_repo.feast_internals feature_repo.online.format "
        "feature_repo.online.redis feature_repo.online.sqlite"
    ),
    "feature_repo.online.format": (
        "feature_repo.feast_internals feature_repo.instants feature_repo.lake"
    ),
    "feature_repo.online.materialize": (
        "feature_repo.feast_internals feature_repo.instants feature_repo.lake "
        "feature_repo.offline feature_repo.online.format feature_repo.publication"
    ),
    "feature_repo.online.redis": (
        "feature_repo.feast_internals feature_repo.instants feature_repo.online.format"
    ),
    "feature_repo.online.sqlite": (
        "feature_repo.feast_internals feature_repo.home feature_repo.instants "
        "feature_repo.online.format"
    ),
    "feature_repo.online_store": "feature_repo.online.redis feature_repo.online.sqlite",
    "feature_repo.point_in_time": "feature_repo.offline",
    "feature_repo.publication": (
        "feature_repo.contract feature_repo.files feature_repo.lake feature_repo.transforms.history"
    ),
    "feature_repo.registry": "feature_repo.feast_registry",
    "feature_repo.sources": (
        "feature_repo.contract feature_repo.lake feature_repo.names feature_repo.sources.spellings"
    ),
    "feature_repo.sources.files": (
        "feature_repo.contract feature_repo.sources feature_repo.sources.spellings"
    ),
    "feature_repo.sources.spellings": "",
    "feature_repo.sources.sql": (
        "feature_repo.contract feature_repo.lake feature_repo.sources feature_repo.sources.files"
    ),
    "feature_repo.transforms": "feature_repo.instants",
    "feature_repo.transforms.history": "feature_repo.instants feature_repo.transforms.request",
    "feature_repo.transforms.request": "feature_repo.contract feature_repo.transforms",
    "feature_repo.views": (
        "feature_repo.names feature_repo.transforms.history feature_repo.transforms.request"
    ),
    "validation": (
        "feature_repo.contract feature_repo.instants feature_repo.lake feature_repo.sources"
    ),
    "training.data": (
        "feature_repo.instants feature_repo.lake feature_repo.names feature_repo.publication "
        "feature_repo.transforms.request"
    ),
    "training.evaluation": "training.data feature_repo.instants feature_repo.transforms",
    "training.models": (
        "training.data feature_repo.names feature_repo.transforms.request serving.policy"
    ),
    "training.registry": (
        "training.evaluation training.studies feature_repo.names feature_repo.transforms.request"
    ),
    "training.report": (
        "training.data training.evaluation training.models training.registry "
        "training.studies feature_repo.instants feature_repo.lake feature_repo.names "
        "feature_repo.transforms.request serving.policy"
    ),
    "training.studies": (
        "training.data training.evaluation training.models feature_repo.instants "
        "feature_repo.transforms.request serving.policy"
    ),
    "serving.access": "serving.errors serving.http feature_repo.files",
    "serving.api": (
        "serving.access serving.candidates serving.decisions serving.errors "
        "serving.events serving.http serving.models serving.online serving.policy "
        "serving.recommend serving.runtime serving.schemas serving.telemetry "
        "feature_repo.names"
    ),
    "serving.candidates": (
        "feature_repo.contract feature_repo.instants feature_repo.names "
        "feature_repo.transforms feature_repo.transforms.request"
    ),
    "serving.client": "serving.schemas",
    "serving.decisions": "feature_repo.files feature_repo.instants",
    "serving.errors": "",
    "serving.events": (
        "serving.candidates serving.errors serving.ledger serving.rules serving.schemas "
        "feature_repo.contract feature_repo.instants"
    ),
    "serving.http": "serving.errors serving.runtime serving.telemetry",
    "serving.lake_queries": (
        "serving.candidates serving.errors serving.events serving.online serving.planned_index "
        "feature_repo.lake feature_repo.publication"
    ),
    "serving.ledger": "serving.errors serving.runtime",
    "serving.main": (
        "serving.access serving.api serving.errors serving.http serving.online "
        "serving.settings serving.wiring feature_repo.lake"
    ),
    "serving.models": (
        "serving.errors serving.policy serving.runtime feature_repo.files "
        "feature_repo.names feature_repo.transforms.request"
    ),
    "serving.online": (
        "serving.candidates serving.errors serving.runtime serving.schemas "
        "feature_repo.feast_registry feature_repo.names feature_repo.online "
        "feature_repo.online.format"
    ),
    "serving.planned_index": (
        "serving.candidates serving.rules feature_repo.names feature_repo.publication "
        "feature_repo.transforms.request"
    ),
    "serving.policy": (
        "serving.candidates serving.errors serving.runtime feature_repo.contract "
        "feature_repo.names feature_repo.transforms feature_repo.transforms.request"
    ),
    "serving.recommend": (
        "serving.candidates serving.decisions serving.errors serving.ledger "
        "serving.models serving.online serving.policy serving.rules serving.runtime "
        "serving.schemas serving.telemetry feature_repo.instants feature_repo.names "
        "feature_repo.online.format feature_repo.transforms.request"
    ),
    "serving.rules": "serving.candidates serving.errors serving.ledger serving.runtime",
    "serving.runtime": "serving.errors feature_repo.instants",
    "serving.schemas": (
        "serving.candidates feature_repo.contract feature_repo.names "
        "feature_repo.transforms.request"
    ),
    "serving.settings": (
        "serving.decisions serving.http serving.models serving.online serving.policy "
        "serving.rules serving.runtime feature_repo.home"
    ),
    "serving.telemetry": "serving.decisions serving.models serving.schemas",
    "serving.wiring": (
        "serving.access serving.api serving.candidates serving.decisions serving.events "
        "serving.http serving.lake_queries serving.ledger serving.models serving.online "
        "serving.policy serving.recommend serving.runtime serving.settings "
        "serving.telemetry feature_repo.instants feature_repo.lake feature_repo.names"
    ),
    "flows": (
        "feature_repo.contract feature_repo.definitions feature_repo.home "
        "feature_repo.instants feature_repo.lake feature_repo.names "
        "feature_repo.online.materialize feature_repo.publication feature_repo.sources "
        "feature_repo.sources.files feature_repo.sources.sql feature_repo.views "
        "serving.candidates serving.decisions "
        "serving.errors serving.models serving.online serving.planned_index serving.recommend "
        "serving.rules serving.runtime serving.schemas training.data training.evaluation "
        "training.models training.registry training.report training.studies validation"
    ),
    "flows.cli": (
        "flows flows.cli.output flows.compare feature_repo.contract feature_repo.instants "
        "feature_repo.lake feature_repo.names feature_repo.publication feature_repo.sources "
        "serving.access serving.errors serving.main serving.telemetry training.registry validation"
    ),
    "flows.cli.output": (
        "flows flows.compare feature_repo.lake serving.models training.registry validation"
    ),
    "flows.compare": (
        "flows feature_repo.contract feature_repo.instants feature_repo.lake feature_repo.names"
    ),
}
SEAMS = {
    "feast": {
        "feature_repo/views",
        "feature_repo/definitions.py",
        "feature_repo/feast_internals.py",
        "feature_repo/feast_registry.py",
        "feature_repo/offline/",
        "feature_repo/online/",
        "serving/online/",
        "flows/materialize.py",
    },
    "mlflow": {"training/registry/", "serving/models/mlflow_registry.py"},
    "xgboost": {
        "training/models/probability.py",
        "training/models/ranker.py",
        "training/registry/run_writer.py",
        "serving/models/",
    },
    "optuna": {"training/studies/hyperparameters.py"},
    "prefect": {"flows"},
    "great_expectations": {"validation"},
    "fastapi": {"serving/api/", "serving/http/", "serving/access/", "serving/main.py"},
}
MOST_MODULES = 12
"""A room that outgrows this is two."""


@cache
def modules() -> Mapping[str, Path]:
    """Every module of the five packages by its dotted name; a package is its ``__init__``."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {_dotted(path): path for path in paths}


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imported(path: Path) -> frozenset[str]:
    """The names that a file imports anywhere, each with its module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{name.name}" for name in node.names)
    return frozenset(found)


def module_of(name: str) -> str | None:
    """The module of ours that an imported name is in, or None for a foreign one."""
    if name.split(".")[0] not in FOLDERS:
        return None
    return name if name in modules() else name.rpartition(".")[0]


def room_of(module: str) -> str:
    """The room that a module is in."""
    if module in ROOMS:
        return module
    parent = module.rpartition(".")[0]
    return parent if parent else module


@cache
def module_arrows() -> Mapping[str, frozenset[str]]:
    """The modules of ours that each module imports."""
    found = {}
    for name, path in modules().items():
        targets = {module_of(one) for one in imported(path)}
        found[name] = frozenset(target for target in targets if target and target != name)
    return found


@cache
def room_arrows() -> Mapping[str, set[str]]:
    """The rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for name, targets in module_arrows().items():
        rooms = {room_of(target) for target in targets}
        found.setdefault(room_of(name), set()).update(rooms - {room_of(name)})
    return found


def circles(arrows: Mapping[str, set[str] | frozenset[str]]) -> list[str]:
    """The names that reach themselves."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*arrows[start]]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += arrows[one]
        return seen

    return [name for name in arrows if name in reached(name)]


def test_every_import_finds_a_module_of_ours():
    known = set(modules())
    assert {target for targets in module_arrows().values() for target in targets} <= known


@pytest.mark.parametrize("room", sorted({room_of(name) for name in modules()}))
def test_room_imports_what_its_line_allows(room):
    allowed = set(ROOMS.get(room, "").split())
    found = room_arrows()[room]
    assert found - allowed == set(), f"{room} may not import these rooms"
    assert allowed - found == set(), f"{room} no longer imports these: take them out of ROOMS"


def test_rooms_and_modules_import_in_no_circle():
    assert circles(room_arrows()) == []
    assert circles(module_arrows()) == []


def test_the_room_table_names_rooms_that_exist():
    rooms = {room_of(name) for name in modules()}
    assert set(ROOMS) - rooms == set()
    assert {one for line in ROOMS.values() for one in line.split()} - rooms == set()


def test_training_reads_the_policy_that_serves_and_nothing_else():
    of_serving = {
        target
        for name, targets in module_arrows().items()
        for target in targets
        if name.startswith("training") and target.startswith("serving")
    }
    assert of_serving == {
        "serving.policy.base_margin",
        "serving.policy.scores",
        "serving.policy.order",
        "serving.policy.probability",
    }


@pytest.mark.parametrize(
    "package",
    [path.parent for path in modules().values() if path.name == "__init__.py"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_package_has_a_sign_on_its_door(package):
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    assert text.count(".") >= 2, "say in two or three sentences what the room is for and may import"


@pytest.mark.parametrize(
    "package",
    sorted({path.parent for path in modules().values()}),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_room_is_small_enough_to_be_one(package):
    names = [path.name for path in package.glob("*.py") if path.name != "__init__.py"]
    assert len(names) <= MOST_MODULES, f"{package} has {len(names)} modules: make two rooms of it"


@pytest.mark.parametrize("library", list(SEAMS))
def test_heavy_libraries_stay_at_their_seam(library):
    users = {
        str(path.relative_to(ROOT))
        for path in modules().values()
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert users, f"no module imports {library}: take it out of SEAMS"
    assert {
        user for user in users if not any(user.startswith(seam) for seam in SEAMS[library])
    } == set()


def test_no_module_is_named_for_nothing():
    names = {part for name in modules() for part in name.split(".")}
    assert not names & {"utils", "util", "common", "helpers", "core", "base", "manager", "config"}


def test_feast_scans_the_definitions_alone():
    """A module that Feast imports by its path exists twice."""
    folder = ROOT / "feature_repo"
    files = {path.name for path in folder.glob("*.py")}
    packages = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    ignored = set((folder / ".feastignore").read_text().split())
    assert ignored == files - {"definitions.py", "__init__.py"} | packages


def test_every_package_is_installed():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert set(listed) == {
        _dotted(path) for path in modules().values() if path.name == "__init__.py"
    }
