"""Time and memory of whole processes, and the JSON that every benchmark leaves."""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Wall seconds and the peak of one process's resident memory in MB."""

    seconds: float
    megabytes: float


def cost(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end. Raises CalledProcessError if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=os.environ | dict(environment or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=said)
    return Cost(time.perf_counter() - started, usage.ru_maxrss / 1024)


def median(command: Sequence[str], times: int, environment=None) -> Cost:
    """The median cost of several runs, after one that warms the file cache."""
    cost(command, environment)
    runs = [cost(command, environment) for _ in range(times)]
    return Cost(
        statistics.median(run.seconds for run in runs),
        statistics.median(run.megabytes for run in runs),
    )


def record(case: str, metric: str, unit: str, ours: float, floor=None, peers=None) -> dict:
    """One row of a benchmark's JSON."""
    return {
        "case": case,
        "metric": metric,
        "unit": unit,
        "ours": ours,
        "floor": floor,
        "peers": peers or {},
    }


def report(name: str, home: Path, records: Sequence[dict]) -> None:
    """Print the records as a table and write them below ``home``."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=name, title_justify="left")
    for column in ("case", "metric", "unit", "ours", "floor", "ratio"):
        shown.add_column(column, justify="left" if column in ("case", "metric") else "right")
    for row in records:
        floor = row["floor"]
        ratio = f"{row['ours'] / floor:.2f}" if floor else ""
        shown.add_row(
            row["case"],
            row["metric"],
            row["unit"],
            f"{row['ours']:,.2f}",
            f"{floor:,.2f}" if floor else "",
            ratio,
        )
    Console().print(shown)
    folder = home / "reports" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(records, indent=1))
