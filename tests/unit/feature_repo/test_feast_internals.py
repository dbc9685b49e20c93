"""Feast's private names stay in one module, which is the one to check when Feast is upgraded."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.places import ROOT

INTERNALS = ROOT / "feature_repo" / "feast_internals.py"
FOLDERS = ("feature_repo", "validation", "training", "serving", "flows")
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def listed(table: str) -> set[str]:
    """The last parts of the dotted names in a table of the internals."""
    for node in ast.parse(INTERNALS.read_text()).body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == table:
            assert node.value is not None
            return {name.rsplit(".", 1)[1] for name in ast.literal_eval(node.value)}
    raise AssertionError(f"{INTERNALS} has no {table}")


def private_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "feast":
            yield from (one.name for one in node.names if one.name.startswith("_"))


def attributes(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    texts = {
        node.args[1].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "getattr"
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
    }
    return read | texts


def test_no_other_module_imports_a_private_name_of_feast():
    found = {
        str(path.relative_to(ROOT)): names
        for path in MODULES
        if path != INTERNALS and (names := list(private_imports(path)))
    }
    assert found == {}


def test_no_other_module_reads_a_private_attribute_of_feast():
    private = listed("USED") | {"_get_provider", "_provider"}
    found = {
        str(path.relative_to(ROOT)): names
        for path in MODULES
        if path != INTERNALS
        and "feature_repo" in path.parts
        and (names := attributes(path) & private)
    }
    assert found == {}


def test_each_listed_name_is_used_in_the_internals():
    names = {*private_imports(INTERNALS), *attributes(INTERNALS)}
    assert listed("USED") - names == set()
