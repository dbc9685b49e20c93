"""The table of one user's recommended coupons."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from flows.cli.output.terminal import console, instant

if TYPE_CHECKING:
    from flows.offline_recommendation import Explained


def recommended(explained: "Explained", in_cart: Mapping[str, Sequence[str]] | None = None) -> None:
    """Prints the ranked coupons of a user, with the products that they cover.

    ``in_cart`` names the covered products of a cart, by coupon. With it they are printed instead of
    those that the user bought before.
    """
    answer = explained.answer
    console.print(
        f"User [bold]{answer.user_id}[/] as of {instant(explained.as_of)}, ranked by "
        f"{answer.model.name} {answer.model.version}."
    )
    if answer.cold_start:
        console.print("Cold start: this user has no features, so only open campaigns count.")
    if answer.removed:
        removed = ", ".join(f"{count:,} {rule}" for rule, count in answer.removed.items())
        console.print(f"Removed by rules: {removed}.")
    if answer.reason:
        console.print(f"No coupon: {answer.reason}.")
        return
    shown, figures = Table(title_justify="left"), ("#", "score")
    last = "bought before" if in_cart is None else "in the cart"
    for name in ("#", "coupon", "score", "valid to", "covers", last):
        right, whole = name in figures, name in (*figures, "coupon", "valid to")
        shown.add_column(name, justify="right" if right else "left", no_wrap=whole)
    for one in answer.recommendations:
        count, names, own = explained.covers.get(one.coupon_id, (0, [], []))
        covers = f"{count:,}: {_short_names(names)}" if count else "unknown"
        row = [str(one.rank), one.coupon_id, f"{one.score:.3f}", f"{one.valid_to:%Y-%m-%d}"]
        named = own if in_cart is None else in_cart.get(one.coupon_id, ())
        shown.add_row(*row, covers, _short_names(named) or "-")
    console.print(shown)
    if answer.redemption_probability is not None:
        console.print(
            "Probability that any of this user's coupons is redeemed at this visit: "
            f"{answer.redemption_probability:.3f}."
        )


def _short_names(names: Sequence[str], longest: int = 32) -> str:
    return "; ".join(" ".join(name.lower().split())[:longest].strip() for name in names)
