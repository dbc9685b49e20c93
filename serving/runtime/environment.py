"""Numbers in environment variables."""

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

from serving.errors import SettingsRefused

Default = TypeVar("Default", float, None)


def number(
    environ: Mapping[str, str],
    name: str,
    default: Default,
    fits: Callable[[float], bool],
    expected: str,
) -> float | Default:
    """Reads a number from the variable ``name``, or returns ``default`` if it is unset or empty.

    ``fits`` is false for a number out of range, and for not-a-number. Then, and for text that is
    no number, raises SettingsRefused: "Expected in NAME ``expected``, got ...".

    >>> number({"RATE": "2.5"}, "RATE", 1.0, lambda rate: rate > 0, "a rate above 0")
    2.5
    >>> number({}, "RATE", 1.0, lambda rate: rate > 0, "a rate above 0")
    1.0
    """
    text = environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise SettingsRefused(f"Expected in {name} {expected}, got {text!r}.")
    return value
