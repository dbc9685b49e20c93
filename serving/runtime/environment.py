"""Reads numbers from environment variables."""

import math
from collections.abc import Callable

from serving.errors import SettingsRefused


def number(
    text: str | None, default: float | None, fits: Callable[[float], bool], refusal: str
) -> float | None:
    """The number that a variable holds, or the default without one; ``refusal`` takes the text."""
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not fits(number):
        raise SettingsRefused(refusal.format(repr(text)))
    return number
