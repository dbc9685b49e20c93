"""The point-in-time join: ours and the floor over every size, then what a user has today."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tests.benchmarks.competing import Answer, Ring, middle, outgrown, records
from tests.benchmarks.measuring import Cap, Stopped
from tests.benchmarks.point_in_time_runs import Work

RUNS = "tests.benchmarks.point_in_time_runs"
DUCKDB = "feast duckdb"
SPILLING = "feast duckdb, spilling"
SPILL_AT = 2 / 3
"""The share of the cap of memory at which a DuckDB that is told to spills."""
FLOORS = {"arrow": ("floor", "floor in order"), "pandas": ("floor",), "file": ("floor",)}
SHIPPED = {
    "arrow": (DUCKDB, SPILLING),
    "pandas": ("pandas merge_asof", DUCKDB, SPILLING, "feast dask"),
}

Runs = dict[str, list[Answer]]


@dataclass(frozen=True, order=True)
class Size:
    """How many snapshots, how many entity rows."""

    snapshots: int
    rows: int

    def case(self, result: str) -> str:
        return f"{self.rows:,} rows x {self.snapshots} snapshots, {result}"

    def holds(self, other: "Size") -> bool:
        """Whether the other one is a part of this work."""
        return other.rows <= self.rows and other.snapshots <= self.snapshots


@dataclass(frozen=True)
class Joins:
    """All joins of one run: where the data lie, and DuckDB's limit for ours and the floor."""

    ring: Ring
    data: Path
    memory_limit: str
    threads: int
    runs: dict[tuple[Size, str], Runs] = field(default_factory=dict)

    def work(self, competitor: str, size: Size, result: str) -> dict:
        places = (str(self.data), str(self.ring.folder), self.threads, self.memory_limit)
        return asdict(Work(competitor, size.rows, size.snapshots, result, *places))

    def records(self) -> list[dict]:
        """What is measured so far."""
        return [
            row
            for (size, result), runs in self.runs.items()
            for row in records(size.case(self._named(result)), runs)
        ]

    def ours(self, sizes: Sequence[Size], results: Sequence[str]) -> Iterator[None]:
        """Ours and the floors in turns; one size after the other."""
        for size in sizes:
            for result in results:
                works = [self.work(name, size, result) for name in ("ours", *FLOORS[result])]
                case = size.case(self._named(result))
                self.runs[size, result] = self.ring.turns(case, RUNS, works)
                yield

    def peers(self, without: Sequence[str] = ()) -> Iterator[None]:
        """What a user has today, once each, from the smallest work to the largest.

        All of it has the cap of the longest of our joins. What a cap stopped is not tried again
        with more rows, more snapshots or on the longer way to pandas; where it was stopped stands
        in its place.
        """
        cap = self.ring.cap([middle(runs["ours"]) for runs in self.runs.values()])
        largest = max(size for size, _ in self.runs)
        stopped: list[tuple[str, Size, Stopped]] = []
        for (size, result), runs in sorted(self.runs.items(), key=lambda item: item[0]):
            for name in (one for one in SHIPPED[result] if one not in without):
                # Told to spill only where the bars look: it is not what Feast ships.
                if name == SPILLING and not (size == largest and outgrown(runs[DUCKDB][0])):
                    continue
                known = [why for who, less, why in stopped if who == name and size.holds(less)]
                runs[name] = known[:1] or [self._once(name, size, result, cap)]
                if isinstance(runs[name][0], Stopped) and not known:
                    stopped.append((name, size, runs[name][0]))
            yield

    def _once(self, name: str, size: Size, result: str, cap: Cap) -> Answer:
        limit = f"{SPILL_AT * cap.gigabytes:g}GB"
        spec = self.work(name, size, result) | {"memory_limit": limit}
        one = self.ring.once(size.case(result), RUNS, spec, cap)
        if isinstance(one, Stopped):
            return replace(one, why=f"{one.why} with {size.case(result)}")
        return one

    def _named(self, result: str) -> str:
        return f"file within {self.memory_limit}" if result == "file" else result
