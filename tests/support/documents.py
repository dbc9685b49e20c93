"""The documents of the checkout, as tests read them: links, anchors, code blocks, commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.places import ROOT

COMMAND = ".venv/bin/clipwise"
# The order in which a newcomer reads.
FIRST = ("README.md", "flows/README.md", "feature_repo/README.md", "validation/README.md")
FIRST += ("training/README.md", "serving/README.md", "infra/README.md")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: the language behind its fence, and its text."""

    language: str
    text: str


def documents() -> list[Path]:
    """Every Markdown file of the checkout, relative to it, in the order of reading."""
    tops = [ROOT / ".github", *(path for path in ROOT.iterdir() if path.name[0] != ".")]
    found = [path for top in tops if top.is_dir() for path in top.rglob("*.md")]
    found += [path for path in tops if path.suffix == ".md"]
    names = [path.relative_to(ROOT).as_posix() for path in found]
    return [Path(one) for one in (*FIRST, *sorted(set(names) - set(FIRST)))]


def text_of(document: Path) -> str:
    return (ROOT / document).read_text()


def blocks(text: str) -> list[Block]:
    """The fenced blocks, in order."""
    return [Block(*found) for found in _FENCE.findall(text)]


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return _FENCE.sub("", text)


def spans(text: str) -> list[str]:
    """Inline code outside of fenced blocks, each on one line."""
    return [" ".join(one.split()) for one in _SPAN.findall(prose(text))]


def links(text: str) -> list[str]:
    """The targets of links and images outside of code."""
    return _LINK.findall(_SPAN.sub("`", prose(text)))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings of a document."""
    return {anchor_of(heading) for heading in _HEADING.findall(prose(text))}


def anchor_of(heading: str) -> str:
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")


def commands(text: str) -> list[str]:
    """The commands of the blocks marked ``sh``, in order; each may span several lines."""
    return [one for block in blocks(text) if block.language == "sh" for one in _split(block.text)]


def _split(script: str) -> Iterator[str]:
    begun = ""
    for line in script.splitlines(keepends=True):
        begun += line
        if line.endswith("\\\n") or not _is_closed(begun):
            continue
        if shlex.split(begun, comments=True):
            yield begun.strip()
        begun = ""
    assert not begun.strip(), f"A command does not end: {begun}"


def _is_closed(script: str) -> bool:
    try:
        shlex.split(script, comments=True)
    except ValueError:
        return False
    return True


def assigned(command: str) -> tuple[str | None, str]:
    """The variable that ``NAME=$(command)`` sets, and the command; else None and the command."""
    found = re.fullmatch(r"(\w+)=\$\((.*)\)", command, re.DOTALL)
    return (found[1], found[2]) if found else (None, command)
