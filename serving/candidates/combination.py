"""Coupons together on one cart: the quotes that cannot be added, and quotes one after another."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from serving.candidates.discounts import Coverage
from serving.candidates.quotes import Quote, quotes


def excluding(
    rows: np.ndarray, cover: Coverage, quoted: Sequence[Quote | None]
) -> list[tuple[int, ...] | None]:
    """Lists for each row the places of the quotes that cannot be added to its own; None for none.

    Two quotes cannot be added if both take money off a same line, as the second would be of what
    the first leaves. None can if deductions leave less to pay than they take off together.
    """
    money = np.array([0 if one is None else one.amount_off + one.cashback for one in quoted])
    takes = np.flatnonzero(money)
    if len(takes) < 2:
        return [None] * len(rows)
    lines = _covered_lines(rows[takes], cover)
    shared = (lines.astype(np.float32) @ lines.T.astype(np.float32)) > 0
    if cover.cart.has_deductions and money.sum() > cover.cart.total:
        shared[...] = True
    np.fill_diagonal(shared, False)
    found: list[tuple[int, ...] | None] = [None] * len(rows)
    for place, others in zip(takes.tolist(), shared, strict=True):
        found[place] = tuple(takes[others].tolist()) or None
    return found


def _covered_lines(rows: np.ndarray, cover: Coverage) -> np.ndarray:
    """True where a row covers a line of goods: one row each, one column a line."""
    lines = np.zeros((len(cover.discounts.kind), cover.cart.goods), dtype=bool)
    goods = cover.line < cover.cart.goods
    lines[cover.coupon[goods], cover.line[goods]] = True
    return lines[rows] | cover.discounts.whole_cart[rows, None]


def stacked_quotes(rows: np.ndarray, cover: Coverage) -> list[Quote | None]:
    """Builds a quote for every row, in order, each on what the quotes before it leave to pay.

    So the amounts can be added. The minimum spend, too, is of what is left.

    >>> from feature_repo.transforms.request.cart import CartLine
    >>> from feature_repo.transforms.request.scope import Scope
    >>> from serving.candidates.cart import cart_of
    >>> from serving.candidates.discounts import PERCENT, Discounts, coverage
    >>> two = [np.array([value, value]) for value in (PERCENT, 60, 0, 10**9, True)]
    >>> discounts = Discounts(*two, scope=Scope.from_lists([[], []]))
    >>> cover = coverage(discounts, cart_of([CartLine("coat", 1, 10_000)]))
    >>> [one.amount_off for one in stacked_quotes(np.array([0, 1]), cover)]
    [6000, 2400]
    """
    found = []
    for row in rows.tolist():
        (quote,) = quotes(np.array([row]), cover)
        found.append(quote)
        money = 0 if quote is None else quote.amount_off + quote.cashback
        if money:
            cover = _less(cover, row, money)
    return found


def _less(cover: Coverage, row: int, money: int) -> Coverage:
    """Takes money off the goods that a row covers, in proportion to their amounts."""
    cart = cover.cart
    covered = np.flatnonzero(_covered_lines(np.array([row]), cover)[0])
    amounts = [int(one) for one in cart.amounts[covered]]
    left = cart.amounts.copy()
    left[covered] -= np.array(_parts(money, amounts), dtype=np.int64)
    return replace(cover, cart=replace(cart, amounts=left))


def _parts(money: int, amounts: Sequence[int]) -> list[int]:
    """Divides money among lines in proportion to their amounts, exactly and never above them.

    >>> _parts(2, [1, 1, 1]), _parts(6, [1, 2, 3])
    ([1, 1, 0], [1, 2, 3])
    """
    total = sum(amounts)
    parts = [money * one // total for one in amounts]
    rest = money - sum(parts)
    for place, one in enumerate(amounts):
        if rest and parts[place] < one:
            parts[place] += 1
            rest -= 1
    return parts
