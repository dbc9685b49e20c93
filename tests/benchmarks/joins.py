"""Point-in-time joins: ours and the floor for every size, then the alternatives of today."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tests.benchmarks.competing import Answer, Runner, median_of, ran_out_of_memory, records
from tests.benchmarks.measuring import Cap, Stopped
from tests.benchmarks.point_in_time_runs import Work

RUNS = "tests.benchmarks.point_in_time_runs"
DUCKDB = "feast duckdb"
SPILLING = "feast duckdb, spilling"
SPILL_AT = 2 / 3
"""Memory limit of the spilling DuckDB, as a share of the memory cap."""
FLOORS = {"arrow": ("floor", "floor in order"), "pandas": ("floor",), "file": ("floor",)}
PEERS = {
    "arrow": (DUCKDB, SPILLING),
    "pandas": ("pandas merge_asof", DUCKDB, SPILLING, "feast dask"),
}

Runs = dict[str, list[Answer]]


@dataclass(frozen=True, order=True)
class Size:
    """The number of snapshots and of entity rows."""

    snapshots: int
    rows: int

    def case(self, result: str) -> str:
        return f"{self.rows:,} rows x {self.snapshots} snapshots, {result}"

    def covers(self, other: "Size") -> bool:
        """True if the other size is not larger in any dimension."""
        return other.rows <= self.rows and other.snapshots <= self.snapshots


@dataclass(frozen=True)
class Joins:
    """All joins of one run. ``memory_limit`` is DuckDB's, for ours and the floor."""

    runner: Runner
    data: Path
    memory_limit: str
    threads: int
    runs: dict[tuple[Size, str], Runs] = field(default_factory=dict)

    def work(self, competitor: str, size: Size, result: str) -> dict:
        places = (str(self.data), str(self.runner.folder), self.threads, self.memory_limit)
        return asdict(Work(competitor, size.rows, size.snapshots, result, *places))

    def records(self) -> list[dict]:
        """Returns the records measured so far."""
        return [
            row
            for (size, result), runs in self.runs.items()
            for row in records(size.case(self._named(result)), runs)
        ]

    def run_ours(self, sizes: Sequence[Size], results: Sequence[str]) -> Iterator[None]:
        """Runs ours and the floors in turns, one size after the other."""
        for size in sizes:
            for result in results:
                works = [self.work(name, size, result) for name in ("ours", *FLOORS[result])]
                case = size.case(self._named(result))
                self.runs[size, result] = self.runner.run_in_turns(case, RUNS, works)
                yield

    def run_peers(self, without: Sequence[str] = ()) -> Iterator[None]:
        """Runs each peer once per size, from the smallest to the largest.

        The caps come from the longest of our joins. A peer that a cap stopped does not run again
        with more rows, more snapshots or a pandas result; its record repeats the point of the stop.
        """
        cap = self.runner.cap([median_of(runs["ours"]) for runs in self.runs.values()])
        largest = max(size for size, _ in self.runs)
        stopped: list[tuple[str, Size, Stopped]] = []
        for (size, result), runs in sorted(self.runs.items(), key=lambda item: item[0]):
            for name in (one for one in PEERS[result] if one not in without):
                # Spilling runs only for the size that a bar needs, as Feast does not ship it.
                if name == SPILLING and not (
                    size == largest and ran_out_of_memory(runs[DUCKDB][0])
                ):
                    continue
                earlier = [
                    stop for peer, less, stop in stopped if peer == name and size.covers(less)
                ]
                runs[name] = earlier[:1] or [self._once(name, size, result, cap)]
                if isinstance(runs[name][0], Stopped) and not earlier:
                    stopped.append((name, size, runs[name][0]))
            yield

    def _once(self, name: str, size: Size, result: str, cap: Cap) -> Answer:
        limit = f"{SPILL_AT * cap.gigabytes:g}GB"
        spec = self.work(name, size, result) | {"memory_limit": limit}
        one = self.runner.run_once(size.case(result), RUNS, spec, cap)
        if isinstance(one, Stopped):
            return replace(one, reason=f"{one.reason} with {size.case(result)}")
        return one

    def _named(self, result: str) -> str:
        return f"file within {self.memory_limit}" if result == "file" else result
