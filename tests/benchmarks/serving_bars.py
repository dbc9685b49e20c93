"""Required results of the serving benchmark, checked on its records.

The bars on p50 and p99 are for one connection. With more connections, requests wait for each other
in a closed loop, so the bar is on throughput.
"""

import re
from collections.abc import Iterator, Sequence

CASE = re.compile(r"(?P<n>[\d,]+) candidates, (?P<cart>.+), connections: (?P<connections>\d+)")
NEAR_FLOOR = 1.5
"""Largest ratio of our p50 to the floor's, at both placements."""
STOCK = 30
"""Least ratio of the stock pair's p50 to ours."""
P99 = {100: 10.0, 1_000: 25.0}
"""Largest p99 in ms, by number of candidates."""
THROUGHPUT = 0.6
"""Least ratio of our requests per second to the floor's."""
THROUGHPUT_CARTS = ("empty cart", "checkout, cart of 20")
"""The cases of ``THROUGHPUT``: the usual request of each placement."""
MEGABYTES = 600
"""Largest resident memory of a worker."""
READY = 10.0
"""Most seconds from start to ready, beyond the imports."""
SWAP = 2.0
"""Largest ratio of p99 during a swap to p99 before it."""
FLAT = 1.05
"""Largest ratio of the memory at the end of a soak to that after a tenth of it."""


def verdicts(records: Sequence[dict]) -> list[str]:
    """Returns one line per bar: PASS or FAIL, the figure and the limit."""
    bars = (_near, _throughput, _failed, _swap, _memory, _ready)
    return [line for bar in bars for line in bar(records)]


def _near(records: Sequence[dict]) -> Iterator[str]:
    for row, n, cart, connections in _cases(records):
        if connections != 1:
            continue
        if row["metric"] == "p50" and n == 100 and _both(row):
            yield _most(row, "p50", row["ours"] / row["floor"], NEAR_FLOOR, "x the floor")
            for name, value in row["peers"].items():
                if value and cart == "empty cart":
                    words = f"x below {name}"
                    yield _least(row, "p50", value / row["ours"], STOCK, words)
        if row["metric"] == "p99" and n in P99 and row["ours"] is not None:
            yield _most(row, "p99", row["ours"], P99[n], "ms")


def _throughput(records: Sequence[dict]) -> Iterator[str]:
    for row, n, cart, connections in _cases(records):
        is_barred = row["metric"] == "rate" and n == 100 and cart in THROUGHPUT_CARTS
        if is_barred and connections > 1 and _both(row):
            ratio = row["ours"] / row["floor"]
            yield _least(row, "throughput", ratio, THROUGHPUT, "x the floor's")


def _failed(records: Sequence[dict]) -> Iterator[str]:
    for row in records:
        if row["metric"] in ("failed", "degraded"):
            yield _most(row, f"{row['metric']} answers", row["ours"], 0, "")
        if row["metric"] == "rate" and row["ours"] == 0:
            yield f"FAIL  {row['case']}: no request was answered"


def _swap(records: Sequence[dict]) -> Iterator[str]:
    found = {row["metric"]: row for row in records if row["case"].startswith("swap")}
    if not found:
        return
    swaps = found["swaps seen"]
    yield _least(swaps, "swaps seen under load", swaps["ours"], swaps["floor"], "")
    before, during = found["p99 before"], found["p99 during"]
    if before["ours"] and during["ours"]:
        ratio = during["ours"] / before["ours"]
        yield _most(during, "p99 during it", ratio, SWAP, "x that before it")


def _memory(records: Sequence[dict]) -> Iterator[str]:
    for row in records:
        if row["unit"] == "MB":
            yield _most(row, row["metric"], row["ours"], MEGABYTES, "MB")
    soaked = {row["metric"]: row for row in records if row["case"].startswith("soak")}
    if soaked:
        end = soaked["memory at the end"]
        growth = end["ours"] / soaked["memory after a tenth"]["ours"]
        yield _most(end, "memory", growth, FLAT, "x that after a tenth")


def _ready(records: Sequence[dict]) -> Iterator[str]:
    for row in records:
        if row["case"] == "start to ready":
            yield _most(row, "beyond the imports", row["ours"] - row["floor"], READY, "s")


def _most(row: dict, what: str, value: float, bar: float, words: str) -> str:
    return _line(row, what, value, value <= bar, f"at most {bar:g}", words)


def _least(row: dict, what: str, value: float, bar: float, words: str) -> str:
    return _line(row, what, value, value >= bar, f"at least {bar:g}", words)


def _line(row: dict, what: str, value: float, holds: bool, bar: str, words: str) -> str:
    figure = f"{value:,.2f} {words}".strip()
    return f"{'PASS' if holds else 'FAIL'}  {row['case']}: {what} {figure} (bar: {bar})"


def _both(row: dict) -> bool:
    return bool(row["ours"]) and bool(row["floor"])


def _cases(records: Sequence[dict]) -> Iterator[tuple[dict, int, str, int]]:
    for row in records:
        found = CASE.match(row["case"])
        if found:
            number = int(found["n"].replace(",", ""))
            yield row, number, found["cart"], int(found["connections"])
