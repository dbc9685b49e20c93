"""The lock: complete, pinned, hashed, without the name of any registry.

Whether a pinned release has a known weakness or was yanked needs a list that is not here.
"""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, version

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.places import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def entries() -> list[tuple[Requirement, list[str]]]:
    """Every requirement of the lock with its hashes."""
    joined = LOCK.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        if not line.strip() or line.strip().startswith("#"):
            continue
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        found.append((Requirement(requirement), hashes))
    return found


ENTRIES = entries()
HERE = {
    canonicalize_name(one.name): one
    for one, _ in ENTRIES
    if one.marker is None or one.marker.evaluate()
}
DIRECT = [
    Requirement(text)
    for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])
]


def pinned(name: str) -> str:
    (specifier,) = HERE[canonicalize_name(name)].specifier
    return specifier.version


def applies(requirement: Requirement, extras: frozenset[str] = frozenset()) -> bool:
    if requirement.marker is None:
        return True
    environment = default_environment()
    return any(requirement.marker.evaluate({**environment, "extra": one}) for one in ("", *extras))


def test_every_requirement_is_one_release_with_hashes():
    assert len(ENTRIES) > 100
    for requirement, hashes in ENTRIES:
        assert [one.operator for one in requirement.specifier] == ["=="], requirement
        assert "*" not in str(requirement.specifier) and requirement.url is None, requirement
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes)


def test_lock_names_no_registry_and_sets_no_option():
    plain = re.sub(r"--hash=", "", LOCK)
    assert "://" not in plain and "--" not in plain and " @ " not in plain


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda one: one.name)
def test_lock_holds_what_the_project_asks_for(requirement):
    if applies(requirement):
        assert requirement.specifier.contains(pinned(requirement.name), prereleases=True)


def test_lock_holds_everything_that_its_packages_ask_for():
    """Installed with --no-deps, so that what is missing here is missing there."""
    wanted = {canonicalize_name(one.name): frozenset(one.extras) for one in DIRECT if applies(one)}
    queue, seen = list(wanted.items()), set()
    while queue:
        name, extras = queue.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for text in distribution(name).requires or ():
            found = Requirement(text)
            if not applies(found, extras):
                continue
            needed = canonicalize_name(found.name)
            assert needed in HERE, f"{name} needs {found}, which the lock does not have"
            assert found.specifier.contains(pinned(needed), prereleases=True), f"{name}: {found}"
            queue.append((needed, frozenset(found.extras)))
    assert {name for name, _ in seen} == set(HERE)


def test_what_runs_is_what_the_lock_says():
    for name in HERE:
        try:
            assert version(name) == pinned(name), name
        except PackageNotFoundError:
            pytest.fail(f"{name} is in the lock and not installed; run make again")
