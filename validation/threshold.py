"""When so many rows fail that the batch itself, and not some rows, must be wrong."""

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

_RULES_NAMED = 3


class TooManyFailures(Exception):
    """More of a table's rows are in quarantine than the caller allows."""


class Judged(Protocol):
    """What is asked of a checked batch."""

    quarantined: object
    rows_in: Mapping[str, int]


def stop_if_too_many(checked: Judged, maximum_share: float = 0.01) -> None:
    """Raise TooManyFailures if above ``maximum_share`` (0 to 1) of some table's rows failed.

    The message names the table with the greatest share, its three most frequent rules with an
    example each, and what to do. Rows that wait for a parent count as well.
    """
    if not 0 <= maximum_share <= 1:
        raise ValueError(f"maximum_share must lie between 0 and 1, but is {maximum_share}.")
    failed = Counter(checked.quarantined["table"].to_pylist())
    shares = {name: count / checked.rows_in[name] for name, count in failed.items()}
    over = sorted((name for name in shares if shares[name] > maximum_share), key=shares.get)
    if over:
        worst = over.pop()
        raise TooManyFailures(
            f"{worst}: {failed[worst]:,} of {checked.rows_in[worst]:,} rows "
            f"({_percent(shares[worst])}) failed, above the allowed {_percent(maximum_share)}"
            f"{_others(over)}, so nothing landed; most frequent: {_examples(checked, worst)} "
            f"Fix the source, or pass --max-failure-share {_rounded_up(shares[worst])}."
        )


def _others(names: list[str]) -> str:
    return f" (so did {', '.join(sorted(names))})" if names else ""


def _examples(checked: Judged, name: str) -> str:
    rows = checked.quarantined.select(["table", "rule", "reason"]).to_pylist()
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["table"] == name:
            reasons.setdefault(row["rule"], []).append(row["reason"])
    frequent = sorted(reasons.items(), key=lambda item: -len(item[1]))[:_RULES_NAMED]
    return " ".join(f"{rule} {len(found):,} times, as in: {found[0]}" for rule, found in frequent)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _rounded_up(share: float) -> str:
    """A share of at least this size with few digits, so that the advice works when followed."""
    import math

    return f"{math.ceil(share * 1000) / 1000:.3f}"
