"""The documents: their links lead somewhere, and what they name exists."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli.main import app
from tests.support.documents import (
    COMMAND,
    anchors,
    assigned,
    blocks,
    commands,
    documents,
    links,
    spans,
    text_of,
)
from tests.support.places import ROOT

PACKAGES = ("feature_repo", "validation", "training", "serving", "flows")
MOST_LINES = 150
VARIABLE = re.compile(r"\bCLIPWISE_[A-Z_]*[A-Z]\b")
# Read by `infra/local`, a test or the reader's own shell, not by the product.
OTHER_VARIABLES = {"CLIPWISE_PORT", "CLIPWISE_FUZZED", "CLIPWISE_FAULT_ROUNDS"}

every_document = pytest.mark.parametrize("document", documents(), ids=str)


def found(words: list[str]) -> tuple[Any, list[str]]:
    """The command that a line of ``clipwise`` names, and the words behind it."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands") and words and words[0] != "--help":
        name, *words = words
        assert name in command.commands, f"There is no command {name!r}."
        command = command.commands[name]
    return command, words


def parse(words: list[str]) -> None:
    """Parse a whole command line as ``clipwise`` would, and run nothing."""
    command, options = found(words)
    command.make_context(command.name, options)


def check_options(words: list[str]) -> None:
    """Check the options of an example in a sentence, which may leave out required ones."""
    command, options = found(words)
    known = {"--help", *(option for param in command.params for option in param.opts)}
    assert {word for word in options if word.startswith("--")} <= known, words


@every_document
def test_relative_links_lead_to_a_file_and_a_heading(document):
    for link in links(text_of(document)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), f"{document}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{document}: no heading for {link}"


def test_front_page_stays_short():
    assert len(text_of(Path("README.md")).splitlines()) <= MOST_LINES


@every_document
def test_commands_of_clipwise_exist_with_their_options(document):
    text = text_of(document)
    for command in spans(text):
        if command.startswith("clipwise "):
            check_options(shlex.split(command)[1:])
    for command in commands(text):
        program, *words = shlex.split(assigned(command)[1], comments=True)
        if program == COMMAND:
            parse(words)


@every_document
def test_verbs_of_make_exist(document):
    text = text_of(document)
    verbs = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in (*spans(text), *commands(text)):
        words = shlex.split(command, comments=True) if command.startswith("make ") else []
        assert set(words[1:]) <= verbs, f"{document}: {command}"


def test_example_of_the_environment_has_the_variables_of_product_and_documents():
    listed = set(VARIABLE.findall((ROOT / "infra" / ".env.example").read_text()))
    paths = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    read = {name for path in paths for name in VARIABLE.findall(path.read_text())}
    named = {name for one in documents() for name in VARIABLE.findall(text_of(one))}
    assert listed == read
    assert named - OTHER_VARIABLES <= listed
    assert listed <= named, "a variable that no document explains"


@pytest.mark.parametrize("folder", PACKAGES)
def test_readme_of_a_package_names_its_rooms(folder):
    text = text_of(Path(folder, "README.md"))
    for room in (ROOT / folder).glob("*/__init__.py"):
        assert f"[{room.parent.name}/" in text, f"{folder}/README.md lacks {room.parent.name}"


def test_class_paths_for_a_feature_store_exist():
    text = text_of(Path("feature_repo/README.md"))
    yaml = "".join(block.text for block in blocks(text) if block.language == "yaml")
    paths = re.findall(r"type: ([\w.]+)", yaml)
    assert len(paths) == 3
    for path in paths:
        module, _, name = path.rpartition(".")
        assert name in (ROOT / module.replace(".", "/")).with_suffix(".py").read_text(), path


def test_picture_shows_every_word_of_its_source():
    source = (ROOT / ".github" / "loop.dot").read_text()
    picture = (ROOT / ".github" / "loop.svg").read_text()
    words = re.findall(r"<b>(\w+)</b>|<font[^>]*>([^<]+)</font>", source)
    words += [(name, "") for name in re.findall(r'^    (\w+) +\[pos="[^"]+"\]', source, re.M)]
    assert len(words) > 20
    for word in {one or other for one, other in words}:
        assert f">{word}<" in picture, f"draw .github/loop.svg again: {word} is missing"
