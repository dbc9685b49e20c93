"""Time and memory of whole processes, and the JSON of every benchmark."""

import json
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.1
"""Seconds between two checks of a process under a cap."""

FILE_WIDTH = 150
"""Characters of a table's line if the output is a file."""


@dataclass(frozen=True)
class Cost:
    """Wall-clock seconds of a process, and its peak resident memory in MB."""

    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Cap:
    """Limits at which a process is stopped: seconds of its query, GB of resident memory."""

    seconds: float
    gigabytes: float


@dataclass(frozen=True)
class Stopped:
    """A query that a cap stopped or that failed, with its cost so far."""

    reason: str
    seconds: float
    megabytes: float

    def __str__(self) -> str:
        return f"{self.reason} ({self.seconds:,.0f} s, {self.megabytes:,.0f} MB so far)"


def cost(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Runs a command and returns its cost. Raises CalledProcessError if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=os.environ | dict(environment or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors)
    return Cost(time.perf_counter() - started, usage.ru_maxrss / 1024)


def median_cost(command: Sequence[str], times: int, environment=None) -> Cost:
    """Returns the median cost of several runs, after one that warms the file cache."""
    cost(command, environment)
    runs = [cost(command, environment) for _ in range(times)]
    return Cost(
        statistics.median(run.seconds for run in runs),
        statistics.median(run.megabytes for run in runs),
    )


def run_capped(
    command: Sequence[str], folder: Path, cap: Cap, environment: Mapping[str, str] | None = None
) -> dict | Stopped:
    """Runs a process under caps in an empty folder; returns the content of its file ``answer``.

    The caps apply between the files ``started`` and ``finished``, which the process creates around
    its query.
    """
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | dict(environment or {}),
            cwd=folder,
            stdout=output,
            stderr=output,
        )
        try:
            stopped = _wait(process, folder, cap)
        finally:
            process.kill()
            process.wait()
    if stopped.reason:
        return stopped
    left = folder / "answer"
    return json.loads(left.read_text()) if left.exists() else _failed(stopped, folder)


def _wait(process: subprocess.Popen, folder: Path, cap: Cap) -> Stopped:
    """Waits until a process ends or reaches a cap; ``reason`` is empty if it ended by itself."""
    began, seconds, peak = None, 0.0, 0.0
    while process.poll() is None:
        if began is None and (folder / "started").exists():
            began = time.perf_counter()
        if not (folder / "finished").exists():
            seconds = time.perf_counter() - began if began else 0.0
            peak = max(peak, _resident(process.pid))
            if peak > cap.gigabytes * 1024:
                return Stopped(f"stopped at {cap.gigabytes:g} GB", seconds, peak)
            if seconds > cap.seconds:
                return Stopped(f"stopped after {cap.seconds:,.0f} s", seconds, peak)
        time.sleep(POLL_SECONDS)
    return Stopped("", seconds, peak)


def _resident(pid: int) -> float:
    """Returns the resident memory of a process in MB, 0 if it has ended."""
    import psutil

    try:
        return psutil.Process(pid).memory_info().rss / 2**20
    except psutil.Error:
        return 0.0


def _failed(stopped: Stopped, folder: Path) -> Stopped:
    lines = (folder / "output").read_text(errors="replace").strip().splitlines()
    last = lines[-1][:120] if lines else "ended without output"
    return Stopped(f"failed: {last}", stopped.seconds, stopped.megabytes)


def timed(query: Callable[[], Any], folder: Path) -> tuple[Any, dict]:
    """Runs a query once, inside its process, between the files ``started`` and ``finished``.

    ``megabytes`` is the peak of the whole process, ``before`` the peak before the query.
    """
    before = _peak()
    (folder / "started").touch()
    started = time.perf_counter()
    result = query()
    seconds = time.perf_counter() - started
    megabytes = _peak()
    (folder / "finished").touch()
    return result, {"seconds": seconds, "megabytes": megabytes, "before": before}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def record(case: str, metric: str, unit: str, ours, floor=None, peers=None) -> dict:
    """Returns one row of a benchmark's JSON; ``Stopped`` stands for an unfinished run."""
    return {
        "case": case,
        "metric": metric,
        "unit": unit,
        "ours": ours,
        "floor": floor,
        "peers": peers or {},
    }


def report(name: str, home: Path, records: Sequence[dict]) -> None:
    """Prints the records as a table and writes them below ``home``."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=name, title_justify="left")
    for column in ("case", "metric", "unit", "ours", "floor", "ratio", "peers (times ours)"):
        shown.add_column(column, justify="left" if column[0] in "cmp" else "right")
    for row in records:
        ours, floor = row["ours"], row["floor"]
        ratio = f"{ours / floor:.2f}" if _are_numbers(ours, floor) else ""
        shown.add_row(
            row["case"],
            row["metric"],
            row["unit"],
            _formatted(ours),
            _formatted(floor),
            ratio,
            _peers(row),
        )
    console = Console()
    console.width = console.width if console.is_terminal else FILE_WIDTH
    console.print(shown)
    write(name, home, records)


def write(name: str, home: Path, records: Sequence[dict]) -> None:
    """Writes the records to reports/bench/<name>.json below ``home``."""
    folder = home / "reports" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(records, indent=1, default=str))


def _are_numbers(*values) -> bool:
    return all(isinstance(value, int | float) and value for value in values)


def _formatted(value) -> str:
    if isinstance(value, int | float):
        return f"{value:,.2f}"
    return "" if value is None else str(value)


def _peers(row: dict) -> str:
    return "\n".join(
        f"{name}: {_formatted(value)}"
        + (f" ({value / row['ours']:,.1f}x)" if _are_numbers(value, row["ours"]) else "")
        for name, value in row["peers"].items()
    )
