"""Building blocks of the page in HTML. Plain text is escaped here, except for table cells."""

from collections.abc import Sequence
from html import escape

from training.report.svg import Picture


def section(name: str, title: str, *body: str) -> str:
    """Returns a section with a heading; links point to its ``name``."""
    return f'<section id="{name}"><h2>{escape(title)}</h2>{"".join(body)}</section>'


def paragraph(text: str, kind: str = "") -> str:
    """Returns a paragraph, with ``kind`` as its CSS class."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def note(text: str) -> str:
    """Returns a paragraph in smaller print."""
    return paragraph(text, "note")


def figure(picture: Picture) -> str:
    """Returns a figure with its SVG inside."""
    return f"<figure>{picture.svg}</figure>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Returns a table that scrolls sideways; the first cell of a row is its header.

    Cells are HTML, so the caller escapes them.
    """
    top = "".join(f'<th scope="col">{text}</th>' for text in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table{_class(kind)}><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def pairs(items: Sequence[tuple[str, str]], kind: str = "") -> str:
    """Returns a list of names with their values."""
    lines = (f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in items)
    return f"<dl{_class(kind)}>{''.join(lines)}</dl>"


def bullets(sentences: Sequence[str]) -> str:
    """Returns a list with bullets."""
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def details(summary: str, body: str) -> str:
    """Returns a block that is closed until the reader opens it; ``body`` is HTML."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def bar(share: float, largest: float) -> str:
    """Returns a share as a bar; the share ``largest`` has the full width."""
    width = 100 * share / largest if largest > 0 else 0
    return f'<span class="bar" style="width:{width:.1f}%"></span>'


def display_name(name: str) -> str:
    """Returns the escaped name of a model or metric without underscores.

    >>> display_name("hit_rate@1")
    'hit rate@1'
    """
    return escape(name.replace("_", " "))


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
