"""The examples in docstrings give what they show."""

import doctest
import importlib

import pytest

from tests.support.places import ROOT

FOLDERS = ("feature_repo", "validation", "training", "serving", "flows")
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_give_what_they_show(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0 and found.failed == 0


@pytest.mark.parametrize(
    "room",
    [
        "feature_repo.transforms",
        "serving.candidates",
        "serving.policy",
        "serving.rules",
        "training.evaluation",
    ],
)
def test_pure_room_shows_examples(room):
    assert any(name.startswith(f"{room}.") for name in WITH_EXAMPLES)
