"""The figures of the page: one function for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from training.report.svg import MARK, REFERENCE, SOFT, Picture, picture, styled_axes
from training.studies.influence import Influence
from training.studies.learning_curve import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOW_TO_HIGH = ("#3b7dc4", "#8a7fc0", "#b977ab", "#d4607f", "#d9444f")
"""Colors from low to high values of an input; readable on light and dark."""

_UNKNOWN_VALUE = "#98a2ad"

DIFFERENCE = "difference in NDCG@10"

_TICK_WIDTH = 0.13
"""The least distance of two ticks, as a share of the axis: about the width of a label."""

BEESWARM_INPUTS, BEESWARM_POINTS = 12, 220


@dataclass(frozen=True)
class Interval:
    """A line of a figure of intervals; reference models have another color."""

    label: str
    value: float
    low: float
    high: float
    is_reference: bool = False


def intervals(
    name: str, text: str, lines: Sequence[Interval], axis: str, zero: str = "equal"
) -> Picture:
    """Draws differences with their 95% intervals, one line each, the first on top."""
    with styled_axes(0.75 + 0.25 * len(lines)) as (figure, axes):
        for place, line in enumerate(lines):
            color = REFERENCE if line.is_reference else MARK
            axes.plot([line.low, line.high], [place] * 2, color=color, lw=5, alpha=0.35, zorder=2)
            axes.plot([line.value], [place], "o", color=color, ms=5.5, zorder=3)
        axes.axvline(0, color=SOFT, lw=1.2, zorder=1)
        axes.set_yticks(range(len(lines)), [line.label for line in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(axis)
        axes.annotate(
            zero, (0, -0.6), (0, 3), textcoords="offset points", ha="center", color=SOFT, size=8
        )
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=5)
        return picture(figure, name, text)


def learning_curve(
    name: str, text: str, points: Sequence[Point], levels: Sequence[tuple[str, float]]
) -> Picture:
    """Draws NDCG@10 by share of the households; ``levels`` are other models, as lines."""
    measured = [(one.share, one.value) for one in points if one.value is not None]
    shares = sorted({share for share, _ in measured})
    means = [np.mean([value for share, value in measured if share == one]) for one in shares]
    with styled_axes(2.9) as (figure, axes):
        for label, level in levels:
            axes.axhline(level, color=REFERENCE, lw=1.4, ls=(0, (5, 3)))
            axes.annotate(
                label,
                (1, level),
                (0, 3),
                textcoords="offset points",
                ha="right",
                size=8,
                color=SOFT,
            )
        axes.plot(shares, means, color=MARK, lw=2)
        axes.plot(*zip(*measured, strict=True), "o", color=MARK, ms=4.5, alpha=0.55)
        axes.set_xscale("log", base=2)
        axes.minorticks_off()
        axes.set_xticks(shares, [_amount(share, points) for share in shares])
        axes.set_xlabel("share of the households, and their redeemed coupons")
        axes.set_ylabel("NDCG@10 on test")
        axes.yaxis.set_major_formatter("{x:.3f}")
        axes.locator_params(axis="y", nbins=6)
        axes.margins(y=0.15)
        return picture(figure, name, text)


def _amount(share: float, points: Sequence[Point]) -> str:
    counted = [one for one in points if one.share == share and one.value is not None]
    redeemed = round(np.mean([one.redeemed for one in counted]))
    part = "all" if share == 1 else f"1/{round(1 / share)}"
    return f"{part}\n{redeemed:,}"


def calibration(
    name: str, text: str, bins: Sequence[tuple[float, float, int]], axis: str
) -> Picture:
    """Draws observed shares by predicted probability, with 95% Wilson intervals."""
    expected, share, pairs = (np.array(column) for column in zip(*bins, strict=True))
    low, high = wilson(share, pairs)
    top = 1.1 * max(high.max(), expected.max())
    with styled_axes(3.1) as (figure, axes):
        axes.plot([0, top], [0, top], color=SOFT, lw=1.2, ls=(0, (5, 3)))
        axes.vlines(expected, low, high, color=MARK, lw=5, alpha=0.35)
        axes.plot(expected, share, "o", color=MARK, ms=5)
        # Most pairs are rarely redeemed. On linear axes they would lie on one spot.
        for setting in (axes.set_xscale, axes.set_yscale):
            setting("function", functions=(np.sqrt, np.square))
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
        ticks = _percents(top)
        axes.set_xticks(ticks, [f"{tick:.4g}%" for tick in 100 * ticks])
        axes.set_yticks(ticks, [f"{tick:.4g}%" for tick in 100 * ticks])
        axes.set_xlabel("predicted probability")
        axes.set_ylabel(axis)
        return picture(figure, name, text)


def _percents(top: float) -> np.ndarray:
    """Returns round values from 0 to ``top`` whose labels do not overlap on a square-root axis."""
    scale = 10.0 ** np.floor(np.log10(top))
    kept = [0.0]
    for step in scale * np.array([0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]):
        if step <= top and np.sqrt(step / top) - np.sqrt(kept[-1] / top) >= _TICK_WIDTH:
            kept.append(float(step))
    return np.array(kept)


def wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the 95% intervals of shares of counts (Wilson 1927)."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / 2 / count) ** 2)
    return np.maximum(middle - reach, 0.0), middle + reach


def beeswarm(name: str, text: str, found: Influence) -> Picture:
    """Draws the effects of the strongest inputs, one point for each sampled pair.

    Right of zero, the input raises the coupon's score.
    """
    names = found.strongest(BEESWARM_INPUTS)
    with styled_axes(0.9 + 0.3 * len(names)) as (figure, axes):
        axes.axvline(0, color=SOFT, lw=1.2)
        for place, one in enumerate(names):
            _row(axes, place, found, RANKER_INPUTS.index(one))
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", labelsize=8)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(visible=False, axis="x")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("effect on the score")
        handles = [
            axes.plot([], [], "o", color=color, ms=4, label=label)[0]
            for color, label in (
                (_LOW_TO_HIGH[0], "low value"),
                (_LOW_TO_HIGH[-1], "high"),
                (_UNKNOWN_VALUE, "unknown"),
            )
        ]
        figure.legend(
            handles=handles, loc="outside upper right", ncols=3, fontsize=8, handletextpad=0.1
        )
        return picture(figure, name, text)


def _row(axes: "Axes", place: int, found: Influence, column: int) -> None:
    rows = np.random.default_rng(column).permutation(len(found.effects))[:BEESWARM_POINTS]
    effect, value = found.effects[rows, column], found.values[rows, column]
    offset = _spread(effect)
    level = _levels(value)
    for number, color in enumerate((_UNKNOWN_VALUE, *_LOW_TO_HIGH)):
        here = level == number - 1
        if here.any():
            axes.plot(effect[here], place + offset[here], ".", color=color, ms=3.4, mew=0)


def _levels(values: np.ndarray) -> np.ndarray:
    """Returns levels from 0 for the lowest values to 4 for the highest; -1 for unknown ones.

    Equal values have the same level.
    """
    known = ~np.isnan(values)
    levels = np.full(len(values), -1)
    distinct, place = np.unique(values[known], return_inverse=True)
    if len(distinct) > 1:
        shares = np.searchsorted(np.sort(values[known]), distinct) / known.sum()
        top = shares[-1] or 1.0
        levels[known] = np.minimum((shares / top * 5).astype(int), 4)[place]
    else:
        levels[known] = 0
    return levels


def _spread(effect: np.ndarray, bins: int = 70) -> np.ndarray:
    """Returns offsets that separate points of about the same effect, up to 0.4 of a line."""
    reach = np.abs(effect).max() or 1.0
    place = np.round(effect / reach * bins).astype(int)
    offset = np.zeros(len(effect))
    for one in np.unique(place):
        here = np.flatnonzero(place == one)
        steps = (np.arange(len(here)) + 1) // 2 * np.where(np.arange(len(here)) % 2, 1, -1)
        offset[here] = 0.035 * steps
    return np.clip(offset, -0.4, 0.4)
