"""An oracle for a user's purchases by product, category and brand, in plain Python.

A value that is decayed to a reference instant is a function of that reference.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import lru_cache

from tests.support.brute_rows import DAY, Raw, last_midnight, money

CAP = 1024
KINDS = ("product", "category", "brand")

Fields = dict[str, object]


@dataclass(frozen=True)
class Measured:
    """A float, and the sum of the absolute terms of its sum, which bounds the rounding error."""

    value: float
    scale: float


def decayed(terms: Iterable[tuple[float, int]], reference: int, half_life: float) -> Measured:
    """Sums amount * 2 ** (-(reference - instant) / half_life days) over (amount, instant)."""
    parts = [amount * 2.0 ** (-(reference - at) / DAY / half_life) for amount, at in terms]
    return Measured(sum(parts), sum(map(abs, parts)))


def named(raw: Raw, product: str, kind: str, t: int) -> str | None:
    """Returns a product's id, or its category or brand by its first version, once it is known."""
    if kind == "product":
        return product
    first = raw.first("products", product, t)
    return first and first[kind]


@dataclass(frozen=True)
class Bought:
    """The columns of a purchase that the histories depend on; equal ones count as the same."""

    event_id: str
    id: str
    at: int
    with_coupon: bool
    amount: int


@lru_cache(maxsize=1000)
def bought(raw: Raw, user: str, kind: str, t: int) -> frozenset[Bought]:
    """Returns the user's purchases that count at t, with the ids of a kind."""
    rows = raw.purchases(t, user_id=user)
    return frozenset(
        Bought(
            r["event_id"],
            one,
            r["event_timestamp"],
            money(r, "coupon_discount") > 0,
            money(r, "amount"),
        )
        for r in rows
        if (one := named(raw, r["product_id"], kind, t)) is not None
    )


def entries(gained: Set[Bought], lost: Set[Bought], now: Set[Bought], reference: int) -> dict:
    """Returns count, weight, last purchase, coupon uses and amount of the heaviest ids."""
    signed = [(1, one) for one in gained] + [(-1, one) for one in lost]
    out = {}
    for name in {one.id for _sign, one in signed}:
        here = [(sign, one) for sign, one in signed if one.id == name]
        out[name] = (
            sum(sign for sign, _one in here),
            decayed([(sign, one.at) for sign, one in here], reference, 90),
            max((one.at for one in now if one.id == name), default=0),
            sum(sign for sign, one in here if one.with_coupon),
            sum(sign * one.amount for sign, one in here),
        )
    heaviest = sorted(out, key=lambda name: (-out[name][1].value, name))[:CAP]
    return {name: out[name] for name in heaviest}


def user_purchase_history(raw: Raw, user: str, t: int) -> Fields:
    out: Fields = {}
    for kind in KINDS:
        held = bought(raw, user, kind, last_midnight(t))
        out[f"history_{kind}"] = lambda reference, held=held: entries(held, set(), held, reference)
    return out


def user_recent_purchases(raw: Raw, user: str, t: int) -> Fields:
    out: Fields = {}
    for kind in KINDS:
        now, then = bought(raw, user, kind, t), bought(raw, user, kind, last_midnight(t))
        out[f"recent_{kind}"] = lambda reference, now=now, then=then: entries(
            now - then, then - now, now, reference
        )
    return out
