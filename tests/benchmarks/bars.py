"""Required results of the point-in-time benchmark, checked on its records."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from tests.benchmarks.measuring import Stopped

AT_ROWS = 1_000_000
"""Entity rows of the joins that are compared with Feast."""
FASTER = {52: 20, 365: 100}
"""Least speed-up over Feast, by number of snapshots."""
LIGHTER = 4
"""Least ratio of Feast's peak memory to ours."""
NEAR_FLOOR = 1.5
"""Largest ratio of our cost to the floor's."""
REDIS = 10
"""Least ratio of our rate of materialization to Redis to Feast's."""
JOIN = re.compile(
    r"(?P<rows>[\d,]+) rows x (?P<snapshots>\d+) snapshots, \w+( within (?P<gb>\d+)GB)?"
)


def verdicts(records: Sequence[dict]) -> list[str]:
    """Returns one line per bar: PASS, FAIL, or OPEN if the measurements do not decide it."""
    bars = (_beside_feast, _beside_the_floor, _large, _redis)
    return [line for bar in bars for line in bar(records)]


def _beside_feast(records: Sequence[dict]) -> Iterator[str]:
    for time, memory in _costs(records):
        rows, snapshots, _ = _sizes(time["case"])
        feast = [name for name in time["peers"] if name.startswith("feast ")]
        if rows != AT_ROWS or snapshots not in FASTER or not feast:
            continue
        faster = _faster(time["peers"], feast)
        yield _at_least(time, faster, FASTER[snapshots], "times as fast as")
        # Feast with our spill setting does not show the memory that Feast's own store needs.
        faster = _faster(time["peers"], [name for name in feast if "spilling" not in name])
        yield _at_least(memory, faster, LIGHTER, "times lighter than")


def _faster(times: Mapping, names: Sequence[str]) -> str:
    """Returns Feast's fastest store; a stop by time counts as faster than a stop by memory."""

    def order(name: str) -> tuple:
        value = times[name]
        if isinstance(value, Stopped):
            return (1 if value.reason.startswith("stopped after") else 2, value.seconds)
        return (0, value)

    return min(names, key=order)


def _at_least(row: dict, name: str, bar: float, words: str) -> str:
    peer, ours = row["peers"][name], row["ours"]
    if isinstance(ours, Stopped):
        return f"FAIL  {row['case']}: ours {ours}"
    stopped = isinstance(peer, Stopped)
    reached = peer.seconds if row["metric"] == "time" and stopped else peer
    reached = peer.megabytes if row["metric"] == "peak memory" and stopped else reached
    ratio = reached / ours
    verdict = "PASS" if ratio >= bar else "OPEN" if stopped else "FAIL"
    measured = f"at least {ratio:,.1f}" if stopped else f"{ratio:,.1f}"
    reason = f", {peer.reason}" if stopped else ""
    return f"{verdict}  {row['case']}: {measured} {words} {name}{reason} (bar: {bar})"


def _beside_the_floor(records: Sequence[dict]) -> Iterator[str]:
    for pair in _costs(records):
        for row in pair:
            if isinstance(row["ours"], Stopped) or isinstance(row["floor"], Stopped):
                yield f"FAIL  {row['case']}: ours {row['ours']}, the floor {row['floor']}"
                continue
            ratio = row["ours"] / row["floor"]
            verdict = "PASS" if ratio <= NEAR_FLOOR else "FAIL"
            figure = f"{row['metric']} {ratio:.2f} of the floor"
            yield f"{verdict}  {row['case']}: {figure} (bar: {NEAR_FLOOR})"


def _large(records: Sequence[dict]) -> Iterator[str]:
    """Checks growth of time from a tenth to all rows (at most n log n), and the memory limit."""
    pairs = [pair for pair in _costs(records) if _sizes(pair[0]["case"])[2]]
    pairs = [pair for pair in pairs if not any(isinstance(r["ours"], Stopped) for r in pair)]
    for (smaller, _), (larger, _) in zip(pairs, pairs[1:], strict=False):
        few, many = _sizes(smaller["case"])[0], _sizes(larger["case"])[0]
        growth = larger["ours"] / smaller["ours"]
        bar = many * math.log(many) / (few * math.log(few))
        verdict = "PASS" if growth <= bar else "FAIL"
        yield f"{verdict}  {few:,} to {many:,} rows: {growth:.1f} x the time (bar: {bar:.1f})"
    for _, memory in pairs:
        limit = _sizes(memory["case"])[2] * 1e9 / 2**20
        verdict = "PASS" if memory["ours"] <= limit else "FAIL"
        yield f"{verdict}  {memory['case']}: {memory['ours']:,.0f} MB (bar: {limit:,.0f})"


def _redis(records: Sequence[dict]) -> Iterator[str]:
    for row in records:
        if row["metric"] != "rate" or not row["case"].endswith("redis"):
            continue
        feast = row["peers"].get("feast")
        if isinstance(row["ours"], float) and isinstance(feast, float):
            ratio = row["ours"] / feast
            verdict = "PASS" if ratio >= REDIS else "FAIL"
            yield f"{verdict}  {row['case']}: {ratio:.1f} times Feast's rate (bar: {REDIS})"
        else:
            yield f"OPEN  {row['case']}: ours {row['ours']}, Feast {feast or 'not run'}"


def _costs(records: Sequence[dict]) -> list[tuple[dict, dict]]:
    """Returns the records of time and of peak memory of every join, in pairs."""
    joins = [row for row in records if JOIN.match(row["case"])]
    times = [row for row in joins if row["metric"] == "time"]
    return list(zip(times, [row for row in joins if row["metric"] == "peak memory"], strict=True))


def _sizes(case: str) -> tuple[int, int, int]:
    """Returns entity rows, snapshots and the memory limit in GB, 0 without a limit."""
    found = JOIN.match(case)
    rows = int(found["rows"].replace(",", ""))
    return rows, int(found["snapshots"]), int(found["gb"] or 0)
