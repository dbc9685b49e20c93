"""The page's building blocks in HTML; text is escaped by whoever makes it, cells are HTML."""

from collections.abc import Sequence
from html import escape

from training.report.svg import Picture


def section(name: str, title: str, *body: str) -> str:
    return f'<section id="{name}"><h2>{escape(title)}</h2>{"".join(body)}</section>'


def paragraph(text: str, kind: str = "") -> str:
    return f"<p{_class(kind)}>{escape(text)}</p>"


def note(text: str) -> str:
    return paragraph(text, "note")


def figure(picture: Picture) -> str:
    return f"<figure>{picture.svg}</figure>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table that scrolls sideways by itself; the first cell of a row names it."""
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
    """Names and what they are, one line each."""
    lines = (f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in items)
    return f"<dl{_class(kind)}>{''.join(lines)}</dl>"


def bullets(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def folded(summary: str, body: str) -> str:
    """Something to open for those who want it."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def bar(share: float, most: float) -> str:
    """A share as a bar beside its figure; the longest is ``most``."""
    width = 100 * share / most if most > 0 else 0
    return f'<span class="bar" style="width:{width:.1f}%"></span>'


def named(name: str) -> str:
    """A model's or metric's name as people write it."""
    return escape(name.replace("_", " "))


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
