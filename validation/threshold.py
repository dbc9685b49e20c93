"""The limit on failing rows: above it the whole batch is refused."""

import math
from collections import Counter

from validation.check import Checked

_RULES_NAMED = 3


class TooManyFailures(Exception):
    """More of a table's rows are in quarantine than the caller allows."""


def stop_if_too_many(checked: Checked, maximum_share: float = 0.01) -> dict[str, float]:
    """Raises TooManyFailures if more than ``maximum_share`` (0 to 1) of a table's rows failed.

    The message names the table with the greatest share, its three most frequent rules with an
    example each, and what to do. Rows that wait for a parent count as failed. Returns the share of
    failed rows of each table with any.
    """
    if not 0 <= maximum_share <= 1:
        raise ValueError(f"maximum_share must lie between 0 and 1, but is {maximum_share}.")
    failed: Counter[str] = Counter(checked.quarantined["table"].to_pylist())
    shares = {name: count / checked.rows_in[name] for name, count in failed.items()}
    over = sorted((name for name in shares if shares[name] > maximum_share), key=shares.__getitem__)
    if over:
        worst = over.pop()
        raise TooManyFailures(
            f"{worst}: {failed[worst]:,} of {checked.rows_in[worst]:,} rows "
            f"({_percent(shares[worst])}) failed, above the allowed {_percent(maximum_share)}"
            f"{_others(over)}, so nothing landed. Most frequent: {_examples(checked, worst)} "
            f"Fix the source, or pass --max-failure-share {_rounded_up(shares[worst])}."
        )
    return shares


def _others(names: list[str]) -> str:
    return f" ({', '.join(sorted(names))} as well)" if names else ""


def _examples(checked: Checked, name: str) -> str:
    rows = checked.quarantined.select(["table", "rule", "reason"]).to_pylist()
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["table"] == name:
            reasons.setdefault(row["rule"], []).append(row["reason"])
    frequent = sorted(reasons.items(), key=_count, reverse=True)[:_RULES_NAMED]
    return " ".join(f"{rule} {len(found):,} times, such as: {found[0]}" for rule, found in frequent)


def _count(item: tuple[str, list[str]]) -> int:
    return len(item[1])


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _rounded_up(share: float) -> str:
    """Rounds a share up to a few digits, so that the advised value is high enough."""
    return f"{math.ceil(share * 1000) / 1000:.3f}"
