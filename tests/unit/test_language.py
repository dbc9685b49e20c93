"""The language of the five packages: the rules of CONTRIBUTING that a program can check."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.places import ROOT

FOLDERS = ("feature_repo", "validation", "training", "serving", "flows")
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]

# Verbs of speech and persons, which values and machines are not; and measures that need a number.
UNCLEAR = re.compile(
    r"\b(said|told|tells|heard|hears|nobody|somebody|everybody|anybody|so many|so long|goes on"
    r"|as ever|as it were)\b",
    re.IGNORECASE,
)
QUESTION_WORDS = {"what", "who", "whose", "how", "which", "whether", "where", "when", "why", "if"}
MOST_WORDS = 32
"""A sentence should have about twenty; one this long has two ideas."""


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Every docstring, comment and message of a module, each with its line."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Every docstring of a module, its classes and functions, each with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = ast.get_docstring(node)
            if found:
                yield node.body[0].lineno, found


def names(path: Path) -> Iterator[tuple[int, str]]:
    """Every name that a module defines, each with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def sentences(text: str) -> list[str]:
    """The sentences of a docstring; a list item or a code line is one of its own."""
    paragraphs = re.split(r"\n\s*\n|\n\s*(?=[-*>|`])|:\n", text)
    return [one for part in paragraphs for one in re.split(r"(?<=[.;:?!])\s", part)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_written_plainly(path):
    found = [
        f"{line}: {match[0]!r} in {text.strip()[:80]!r}"
        for line, text in prose(path)
        for match in UNCLEAR.finditer(text)
    ]
    found += [
        f"{line}: the name {name!r}"
        for line, name in names(path)
        if UNCLEAR.search(name.strip("_").replace("_", " "))
    ]
    for line, text in docstrings(path):
        first = text.split()[0].strip("`'\",.:").lower()
        if first in QUESTION_WORDS:
            found.append(f"{line}: a docstring starts with {first!r}: {text[:60]!r}")
        found += [
            f"{line}: {len(one.split())} words in one sentence: {one[:80]!r}"
            for one in sentences(text)
            if len(one.split()) > MOST_WORDS
        ]
    assert not found, "\n".join(found)
