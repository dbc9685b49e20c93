"""Time and memory of whole processes, and the JSON that every benchmark leaves."""

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

LOOK = 0.1
"""Seconds between two looks at a process under a cap."""

WIDE = 150
"""Characters of a line in a file."""


@dataclass(frozen=True)
class Cost:
    """Wall seconds and the peak of one process's resident memory in MB."""

    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Cap:
    """Where a process is stopped: seconds of its query, and GB of its resident memory."""

    seconds: float
    gigabytes: float


@dataclass(frozen=True)
class Stopped:
    """A query that a cap stopped or that failed: why, and how far it had come."""

    why: str
    seconds: float
    megabytes: float

    def __str__(self) -> str:
        return f"{self.why} ({self.seconds:,.0f} s, {self.megabytes:,.0f} MB so far)"


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


def answer(
    command: Sequence[str], folder: Path, cap: Cap, environment: Mapping[str, str] | None = None
) -> dict | Stopped:
    """What a process under caps leaves in ``folder/answer``; it runs there, and it is empty.

    Its caps hold from the file ``started``, made when the query begins, to ``finished``.
    """
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command,
            env=os.environ | dict(environment or {}),
            cwd=folder,
            stdout=said,
            stderr=said,
        )
        try:
            stopped = _watch(process, folder, cap)
        finally:
            process.kill()
            process.wait()
    if stopped.why:
        return stopped
    left = folder / "answer"
    return json.loads(left.read_text()) if left.exists() else _failed(stopped, folder)


def _watch(process: subprocess.Popen, folder: Path, cap: Cap) -> Stopped:
    """Wait for a process, or for a cap; ``why`` is empty if the process ended by itself."""
    began, seconds, most = None, 0.0, 0.0
    while process.poll() is None:
        if began is None and (folder / "started").exists():
            began = time.perf_counter()
        if not (folder / "finished").exists():
            seconds = time.perf_counter() - began if began else 0.0
            most = max(most, _resident(process.pid))
            if most > cap.gigabytes * 1024:
                return Stopped(f"stopped at {cap.gigabytes:g} GB", seconds, most)
            if seconds > cap.seconds:
                return Stopped(f"stopped after {cap.seconds:,.0f} s", seconds, most)
        time.sleep(LOOK)
    return Stopped("", seconds, most)


def _resident(pid: int) -> float:
    """MB of a process's memory that are resident now; 0 if it is gone."""
    import psutil

    try:
        return psutil.Process(pid).memory_info().rss / 2**20
    except psutil.Error:
        return 0.0


def _failed(stopped: Stopped, folder: Path) -> Stopped:
    lines = (folder / "said").read_text(errors="replace").strip().splitlines()
    last = lines[-1][:120] if lines else "ended without a word"
    return Stopped(f"failed: {last}", stopped.seconds, stopped.megabytes)


def timed(query: Callable[[], Any], folder: Path) -> tuple[Any, dict]:
    """Inside a process: run a query once, between the files ``started`` and ``finished``.

    ``megabytes`` is the peak of the whole process, ``before`` what it was before the query.
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
    """One row of a benchmark's JSON; what did not finish stands as ``Stopped``, later its words."""
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
    for column in ("case", "metric", "unit", "ours", "floor", "ratio", "peers (times ours)"):
        shown.add_column(column, justify="left" if column[0] in "cmp" else "right")
    for row in records:
        ours, floor = row["ours"], row["floor"]
        ratio = f"{ours / floor:.2f}" if _numbers(ours, floor) else ""
        shown.add_row(
            row["case"], row["metric"], row["unit"], _shown(ours), _shown(floor), ratio, _peers(row)
        )
    console = Console()
    console.width = console.width if console.is_terminal else WIDE
    console.print(shown)
    write(name, home, records)


def write(name: str, home: Path, records: Sequence[dict]) -> None:
    """Write the records as reports/bench/<name>.json below ``home``."""
    folder = home / "reports" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(records, indent=1, default=str))


def _numbers(*values) -> bool:
    return all(isinstance(value, int | float) and value for value in values)


def _shown(value) -> str:
    if isinstance(value, int | float):
        return f"{value:,.2f}"
    return "" if value is None else str(value)


def _peers(row: dict) -> str:
    return "\n".join(
        f"{name}: {_shown(value)}"
        + (f" ({value / row['ours']:,.1f}x)" if _numbers(value, row["ours"]) else "")
        for name, value in row["peers"].items()
    )
