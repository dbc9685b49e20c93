"""The house of DESIGN: which way imports run, and where the heavy libraries may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("feature_repo", "validation", "training", "serving", "flows")

ALLOWED = {
    "feature_repo": {"feature_repo"},
    "validation": {"validation", "feature_repo"},
    "serving": {"serving", "feature_repo"},
    "training": {"training", "feature_repo", "serving.policy"},
    "flows": {*FOLDERS},
}
SEAMS = {
    "feast": {
        "feature_repo/views",
        "feature_repo/definitions.py",
        "feature_repo/registry.py",
        "feature_repo/point_in_time.py",
        "feature_repo/offline/",
        "feature_repo/online_store.py",
        "feature_repo/entity_reader.py",
        "feature_repo/online/",
        "feature_repo/materialization.py",
        "serving/online.py",
        "serving/main.py",
        "flows/materialize.py",
    },
    "mlflow": {"training/tracking.py", "serving/registry.py"},
    "xgboost": {
        "training/ranker.py",
        "training/tracking.py",
        "serving/model.py",
        "serving/registry.py",
        "serving/trees.py",
    },
    "optuna": {"training/search.py"},
    "prefect": {"flows"},
    "great_expectations": {"validation"},
    "fastapi": {"serving"},
}


def modules() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module in FOLDERS:
                found |= {f"{node.module}.{name.name}" for name in node.names}
    return found - set(FOLDERS)


def within(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    folder = path.relative_to(ROOT).parts[0]
    ours = {name for name in imported(path) if name.split(".")[0] in (*FOLDERS, "tests")}
    assert not {name for name in ours if not within(name, ALLOWED[folder])}


@pytest.mark.parametrize("library", list(SEAMS))
def test_heavy_libraries_stay_at_their_seam(library):
    users = {
        str(path.relative_to(ROOT))
        for path in modules()
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert users, f"nobody imports {library}: take it out of this table"
    outside = {user for user in users if not any(user.startswith(seam) for seam in SEAMS[library])}
    assert not outside


def test_no_module_is_named_for_nothing():
    names = {part for path in modules() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not names & {"utils", "util", "common", "helpers", "core", "base", "manager", "config"}


def test_feast_scans_the_definitions_alone():
    """A module that Feast imports by its path exists twice."""
    folder = ROOT / "feature_repo"
    modules = {path.name for path in folder.glob("*.py")}
    packages = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    ignored = set((folder / ".feastignore").read_text().split())
    assert ignored == modules - {"definitions.py", "__init__.py"} | packages
