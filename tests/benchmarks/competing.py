"""Runs competitors on the same work, in turns or under caps, and checks that answers are equal."""

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measuring import Cap, Cost, Stopped, record, run_capped

LONG = 60
"""A competitor that takes longer, in seconds, runs only once."""
LEAST_CAP = 60
"""Smallest cap of a peer's time, in seconds."""
HOUR = 3600
CHECKOUT = str(Path(__file__).parents[2])
UNORDERED = ("rows", "sums", "vectors")
"""Digests that do not depend on the order of rows."""
ORDERED = (*UNORDERED, "order")
MUST_AGREE = ("ours", "floor", "floor in order")
"""Competitors whose answers must be equal; another answer of a peer is reported."""

Answer = dict | Stopped


class DifferentWork(Exception):
    """Ours and the floor gave different answers, so their costs cannot be compared."""


@dataclass(frozen=True)
class Runner:
    """Runs competitors in a scratch folder: repeatedly in turns, or once under caps.

    Without ``cap_seconds`` a peer may take a hundred times our time, at least a minute.
    """

    folder: Path
    repetitions: int
    cap_gigabytes: float
    cap_seconds: float | None = None

    def cap(self, ours: Sequence[Cost | Stopped]) -> Cap:
        """Returns a cap from the longest of our results of a case."""
        seconds = [100 * one.seconds for one in ours if isinstance(one, Cost)]
        return Cap(self.cap_seconds or max([LEAST_CAP, *seconds]), self.cap_gigabytes)

    def run(self, module: str, spec: Mapping, cap: Cap) -> Answer:
        """Runs a competitor, named in ``spec``, in a new process."""
        # Feast's DuckDB spills to the working directory, so each run has its own.
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = Path(name)
            spec = json.dumps(dict(spec) | {"answer": str(folder / "answer")})
            environment = {"CLIPWISE_HOME": str(folder / "home"), "PYTHONPATH": CHECKOUT}
            return run_capped([sys.executable, "-m", module, spec], folder, cap, environment)

    def run_in_turns(
        self, case: str, module: str, specs: Sequence[Mapping]
    ) -> dict[str, list[Answer]]:
        """Runs every competitor ``repetitions`` times, interleaved; once if it takes a minute."""
        runs: dict[str, list[Answer]] = {spec["competitor"]: [] for spec in specs}
        for turn in range(self.repetitions):
            for spec in specs:
                done = runs[spec["competitor"]]
                if not done or isinstance(done[0], dict) and done[0]["seconds"] <= LONG:
                    progress(f"{case}: {spec['competitor']}, run {turn + 1} of {self.repetitions}")
                    done.append(self.run(module, spec, Cap(HOUR, math.inf)))
        return runs

    def run_once(self, case: str, module: str, spec: Mapping, cap: Cap) -> Answer:
        """Runs a peer once under caps."""
        most = f"at most {cap.seconds:,.0f} s and {cap.gigabytes:g} GB"
        progress(f"{case}: {spec['competitor']}, once, {most}")
        return self.run(module, spec, cap)


def progress(text: str) -> None:
    """Prints a line of progress, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def ran_out_of_memory(one: Answer) -> bool:
    """True if a peer was stopped for its memory."""
    return isinstance(one, Stopped) and one.reason.startswith("stopped at ")


def median_of(runs: Sequence[Answer]) -> Cost | Stopped:
    """Returns the medians of time and memory, or the first run that did not finish."""
    for run in runs:
        if isinstance(run, Stopped):
            return run
    return Cost(*(_median(runs, field) for field in ("seconds", "megabytes")))


def _median(runs: Sequence[dict], field: str) -> float:
    return statistics.median(run[field] for run in runs)


def is_same_answer(one: Answer, other: Answer, digests: Sequence[str] = ORDERED) -> bool:
    """True if two answers agree in all digests that both have, or if one was stopped."""
    if isinstance(one, Stopped) or isinstance(other, Stopped):
        return True
    return all(
        math.isclose(left, right, rel_tol=1e-6, abs_tol=1e-4)
        for name in digests
        if name in one and name in other
        for left, right in zip(_list(one[name]), _list(other[name]), strict=True)
    )


def _list(value) -> list:
    return value if isinstance(value, list) else [value]


def records(case: str, runs: Mapping[str, Sequence[Answer]]) -> list[dict]:
    """Returns the records of a case: time, peak memory, and memory before the query.

    The floor is DuckDB's join without an order, which is cheaper; the ordered one is a peer. Raises
    DifferentWork if our answer is not the floor's, or differs row by row from the ordered floor's.
    """
    for name, done in runs.items():
        digests = ORDERED if name in ("ours", "floor in order") else UNORDERED
        for one in done if name in MUST_AGREE else []:
            if not is_same_answer(runs["ours"][0], one, digests):
                raise DifferentWork(f"{case}: ours answered {runs['ours'][0]}, the {name} {one}.")
    costs = {name: median_of(_checked(runs["ours"][0], done)) for name, done in runs.items()}
    found = [
        record(case, "time", "s", **_columns(costs, "seconds")),
        record(case, "peak memory", "MB", **_columns(costs, "megabytes")),
    ]
    if all(isinstance(costs[name], Cost) for name in ("ours", "floor")):
        before = {name: _median(runs[name], "before") for name in ("ours", "floor")}
        found.append(record(case, "memory before the query", "MB", *before.values()))
    return found


def _checked(ours: Answer, runs: Sequence[Answer]) -> list[Answer]:
    """Replaces the cost of a run with another answer than ours by a note on its answer."""
    return [
        run
        if is_same_answer(ours, run, UNORDERED)
        else Stopped(f"another answer, {run['rows']:,} rows", run["seconds"], run["megabytes"])
        for run in runs
    ]


def _columns(costs: Mapping[str, Cost | Stopped], field: str) -> dict:
    values = {
        name: getattr(cost, field) if isinstance(cost, Cost) else cost
        for name, cost in costs.items()
    }
    return {
        "ours": values.pop("ours"),
        "floor": values.pop("floor", None),
        "peers": values,
    }
