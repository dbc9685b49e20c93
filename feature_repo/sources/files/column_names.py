"""Columns of a file that no column of the contract has by name, but may be meant for one."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

_ALIKE = 0.85
"""Least similarity of two names, as difflib measures it, at which one may be meant as the other."""


def normalized(name: str) -> str:
    """Returns a name in lower case, with one underscore in place of blanks and signs.

    >>> normalized(" Max-Discount ")
    'max_discount'
    """
    return re.sub(r"[^0-9a-z]+", "_", name.casefold()).strip("_")


def same(column: str, names: Iterable[str]) -> list[str]:
    """Lists the names that differ from a contract column by case, blanks and signs alone."""
    return [one for one in names if normalized(one) == column]


def is_near(name: str, column: str) -> bool:
    """Returns whether a file's column may be meant for a contract column: a plural, a unit, a slip.

    >>> is_near("max_discounts", "max_discount"), is_near("max_discount_eur", "max_discount")
    (True, True)
    >>> is_near("min_spent", "min_spend"), is_near("color", "category")
    (True, False)
    """
    found = normalized(name)
    if found.rstrip("s") == column.rstrip("s"):
        return True
    if re.fullmatch(rf"{re.escape(column)}_[a-z]{{1,8}}", found):
        return True
    return min(len(found), len(column)) > 3 and (
        SequenceMatcher(None, found, column).ratio() >= _ALIKE
    )
