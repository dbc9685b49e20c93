"""Runs competitors on one piece of work, in turns or under caps, and holds their answers equal."""

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measuring import Cap, Cost, Stopped, answer, record

LONG = 60
"""Seconds from which one run is enough."""
LEAST_CAP = 60
HOUR = 3600
CHECKOUT = str(Path(__file__).parents[2])
LOOSE = ("rows", "sums", "vectors")
STRICT = (*LOOSE, "order")
BOUND = ("ours", "floor", "floor in order")

Answer = dict | Stopped


class DifferentWork(Exception):
    """Ours and the floor did not answer alike, so their costs cannot be compared."""


@dataclass(frozen=True)
class Ring:
    """Where competitors run: scratch folder, repetitions, and the caps of what runs once.

    Without ``cap_seconds`` a peer has a hundred times our time, and a minute at least.
    """

    folder: Path
    repetitions: int
    cap_gigabytes: float
    cap_seconds: float | None = None

    def cap(self, ours: Sequence[Cost | Stopped]) -> Cap:
        """What fits all of our results of one case."""
        seconds = [100 * one.seconds for one in ours if isinstance(one, Cost)]
        return Cap(self.cap_seconds or max([LEAST_CAP, *seconds]), self.cap_gigabytes)

    def run(self, module: str, spec: Mapping, cap: Cap) -> Answer:
        """One cold process; ``spec`` names its ``competitor``."""
        # Feast's DuckDB spills to the working directory: its own, emptied after every run.
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = Path(name)
            spec = json.dumps(dict(spec) | {"answer": str(folder / "answer")})
            environment = {"CLIPWISE_HOME": str(folder / "home"), "PYTHONPATH": CHECKOUT}
            return answer([sys.executable, "-m", module, spec], folder, cap, environment)

    def turns(self, case: str, module: str, specs: Sequence[Mapping]) -> dict[str, list[Answer]]:
        """Every competitor as often as the ring says, interleaved; once if it takes a minute."""
        runs: dict[str, list[Answer]] = {spec["competitor"]: [] for spec in specs}
        for turn in range(self.repetitions):
            for spec in specs:
                done = runs[spec["competitor"]]
                if not done or isinstance(done[0], dict) and done[0]["seconds"] <= LONG:
                    say(f"{case}: {spec['competitor']}, run {turn + 1} of {self.repetitions}")
                    done.append(self.run(module, spec, Cap(HOUR, math.inf)))
        return runs

    def once(self, case: str, module: str, spec: Mapping, cap: Cap) -> Answer:
        """A peer, one time, under the caps."""
        most = f"at most {cap.seconds:,.0f} s and {cap.gigabytes:g} GB"
        say(f"{case}: {spec['competitor']}, once, {most}")
        return self.run(module, spec, cap)


def say(what: str) -> None:
    """What is running now."""
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def outgrown(one: Answer) -> bool:
    """Whether a peer was stopped for its memory."""
    return isinstance(one, Stopped) and one.why.startswith("stopped at ")


def middle(runs: Sequence[Answer]) -> Cost | Stopped:
    """The medians of time and of memory; the first run that did not finish, if there is one."""
    for run in runs:
        if isinstance(run, Stopped):
            return run
    return Cost(*(_median(runs, field) for field in ("seconds", "megabytes")))


def _median(runs: Sequence[dict], field: str) -> float:
    return statistics.median(run[field] for run in runs)


def alike(one: Answer, other: Answer, digests: Sequence[str] = STRICT) -> bool:
    """Whether two answers are the same, as far as both say."""
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
    """Time and peak memory of one case, and what of the peak was there before the query.

    The floor is DuckDB's join as it comes, which is cheaper than the one in order, a peer here.
    Raises DifferentWork if ours is not the answer of the floor, and row by row that in order.
    """
    for name, done in runs.items():
        digests = STRICT if name in ("ours", "floor in order") else LOOSE
        for one in done if name in BOUND else []:
            if not alike(runs["ours"][0], one, digests):
                raise DifferentWork(f"{case}: ours answered {runs['ours'][0]}, the {name} {one}.")
    costs = {name: middle(_judged(runs["ours"][0], done)) for name, done in runs.items()}
    found = [
        record(case, "time", "s", **_columns(costs, "seconds")),
        record(case, "peak memory", "MB", **_columns(costs, "megabytes")),
    ]
    if all(isinstance(costs[name], Cost) for name in ("ours", "floor")):
        before = {name: _median(runs[name], "before") for name in ("ours", "floor")}
        found.append(record(case, "memory before the query", "MB", *before.values()))
    return found


def _judged(ours: Answer, runs: Sequence[Answer]) -> list[Answer]:
    """A peer with another answer stays in the table, with that word instead of its cost."""
    return [
        run
        if alike(ours, run, LOOSE)
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
