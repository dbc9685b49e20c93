"""Matplotlib figures as SVG, with the fonts and the light and dark colors of the page."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.4
"""Inches; made for a phone. A wide page shows the same figure somewhat larger."""

INK, SOFT, LINE, MARK, REFERENCE, CARD = (
    "#1c2733",
    "#5d6b7a",
    "#dfe5eb",
    "#0b6e99",
    "#c2701c",
    "#ffffff",
)

LIGHT: Mapping[str, str] = {
    "ink": INK,
    "soft": SOFT,
    "line": LINE,
    "mark": MARK,
    "reference": REFERENCE,
    "card": CARD,
}
DARK: Mapping[str, str] = {
    "ink": "#e6ebf0",
    "soft": "#9aa8b6",
    "line": "#2f3a46",
    "mark": "#4db6e2",
    "reference": "#f0a35a",
    "card": "#1a222b",
}
FONT = 'system-ui,-apple-system,"Segoe UI",sans-serif'

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "clipwise",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    # Otherwise a dollar sign in a name starts a formula.
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Picture:
    """A figure: its name, its description in words, and its SVG for a page with ``colors``."""

    name: str
    text: str
    svg: str

    def standalone(self) -> str:
        """Returns the figure as the text of an SVG file."""
        root = f"<svg {_NAMESPACES} " + self.svg.removeprefix("<svg ")
        opened = root.index(">") + 1
        back = '<rect width="100%" height="100%" style="fill: var(--card)"/>'
        return f"{root[:opened]}<style>{colors()}</style>{back}{root[opened:]}\n"


Collect = Callable[[Picture], Picture]
"""Adds a figure to the list of the page's figures, and returns it."""

_NAMESPACES = (
    'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1"'
)


def colors() -> str:
    """Returns the colors as CSS variables, for light and dark."""
    light, dark = (
        ";".join(f"--{name}:{value}" for name, value in theme.items()) for theme in (LIGHT, DARK)
    )
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


@contextmanager
def styled_axes(height: float) -> Iterator[tuple["Figure", "Axes"]]:
    """Yields a figure in the page's style and its axes; ``height`` is in inches."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
        axes.tick_params(length=0)
        yield figure, axes


def picture(figure: "Figure", name: str, text: str) -> Picture:
    """Converts a figure to SVG; screen readers read ``text``."""
    out = StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return Picture(name, text, _themed(out.getvalue(), name, text))


def _themed(svg: str, name: str, text: str) -> str:
    body = svg[svg.index("<svg") :]
    _, _, after = body.partition('viewBox="')
    box = after[: after.index('"')]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", body, flags=re.S)
    # Figures share a page, so their ids must differ.
    body = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r'"[^"]*"', _rounded, body)
    body = body.replace("'DejaVu Sans'", "inherit").replace("DejaVu Sans", "inherit")
    for color, value in LIGHT.items():
        body = body.replace(value, f"var(--{color})")
    style = f"stroke-linejoin:round;font-family:{escape(FONT)}"
    return (
        f'<svg viewBox="{box}" role="img" aria-label="{escape(text)}" style="{style}">'
        f"{re.sub(chr(10) + '+', chr(10), body).strip()}"
    )


def _rounded(quoted: re.Match[str]) -> str:
    """Cuts the numbers of an attribute to hundredths of a point; visible text is no attribute."""
    return re.sub(r"(\d+\.\d\d)\d+", r"\1", quoted[0])
