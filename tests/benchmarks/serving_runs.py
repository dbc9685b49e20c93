"""The parts of the serving benchmark and their records."""

import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from feature_repo.names import CHAMPION, HOME
from tests.benchmarks.competing import progress
from tests.benchmarks.measuring import record
from tests.benchmarks.serving_data import CLIPWISE, Home, registry_client
from tests.benchmarks.serving_load_plan import LoadPlan, answer_of
from tests.benchmarks.serving_prepared import CARTS, bodies
from tests.benchmarks.serving_servers import (
    Server,
    answers,
    feast_serve,
    floor,
    mlflow_serve,
    ours,
    redis_of,
    trivial,
)

STOCK = "feast serve, mlflow models serve"
UNITS = {"p50": "ms", "p90": "ms", "p99": "ms", "max": "ms", "rate": "1/s"}
COUNTS = ("failed", "degraded")
FIRST_SECONDS = 30
"""Longest time for all first requests together; the rest is left out."""
STEADY = 8
"""Connections of the background loads."""
SOAK_SECONDS = 10
"""Most seconds between two readings of memory in a soak."""
IMPORTED = "import time:"
BARE = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception:
        print(name)
"""


def ceiling(plan: LoadPlan, home: Home) -> Iterator[dict]:
    """Measures the load generator on a server that does nothing."""
    with trivial(home) as server:
        for connections in (1, 64):
            found = plan.load(server.port, bodies(home, "empty"), connections, required="")
            progress(f"load generator on an empty server, {connections} connections:")
            progress(f"  p50 {found['p50']:.2f} ms, {found['rate']:,.0f} requests per second")
            case = f"load generator alone, {connections} connections"
            for metric in ("p50", "p99", "rate"):
                yield record(case, metric, UNITS[metric], None, found[metric])


def beside_the_floor(
    plan: LoadPlan, home: Home, connections: Sequence[int], stock: Sequence[int]
) -> list[dict]:
    """Measures ours and the floor in turns, and the stock pair at the ``stock`` connections."""
    runs: dict[tuple, list[dict]] = defaultdict(list)
    with ExitStack() as stack:
        port = stack.enter_context(redis_of(home))
        servers = {
            "floor": stack.enter_context(floor(home, port, plan.workers)),
            "ours": stack.enter_context(ours(home, port, plan.workers)),
        }
        first = _first_requests(plan, home, servers)
        for turn in range(plan.repetitions):
            for number in connections:
                for cart in CARTS:
                    for name, server in servers.items():
                        found = plan.load(server.port, bodies(home, cart), number)
                        runs[cart, number, name].append(found)
                        _log_run(case_of(home.candidates, cart, number), name, turn, found)
        if stock:
            pair = (
                stack.enter_context(feast_serve(home, port)).port,
                stack.enter_context(mlflow_serve(home)).port,
            )
        for turn in range(plan.repetitions):
            for number in stock:
                runs["empty", number, STOCK].append(found := plan.stock(pair, home, number))
                _log_run(case_of(home.candidates, "empty", number), STOCK, turn, found)
    cases = {
        case_of(home.candidates, cart, number): _runs_of(runs, cart, number)
        for number in connections
        for cart in CARTS
    }
    if 1 in connections:
        cases = {_first(home): first} | cases
    return [row for case, found in cases.items() for row in compared(case, found)]


def _first_requests(
    plan: LoadPlan, home: Home, servers: Mapping[str, Server]
) -> dict[str, list[dict]]:
    """Sends one request of each user, right after the start, for at most ``FIRST_SECONDS``.

    Later requests of the measurement are then never a user's first.
    """
    runs = {}
    for name, server in servers.items():
        more = {"once": True, "warm": 0, "seconds": FIRST_SECONDS}
        found = plan.load(server.port, bodies(home, "empty"), 1, **more)
        runs[name] = [found]
        _log_run(_first(home), name, 0, found)
    return runs


def _first(home: Home) -> str:
    return f"{home.candidates:,} candidates, {CARTS['empty']}, each user's first request"


def _log_run(case: str, name: str, turn: int, found: dict) -> None:
    if not found["answers"]:
        progress(f"{case}: {name}, run {turn + 1}: no answer; {found['message']}")
        return
    times = f"p50 {found['p50']:.2f}, p99 {found['p99']:.2f} ms"
    progress(f"{case}: {name}, run {turn + 1}: {times}, {found['rate']:,.0f} per second")


def case_of(candidates: int, cart: str, connections: int) -> str:
    """Returns the name of a case, which ``serving_bars`` parses."""
    return f"{candidates:,} candidates, {CARTS[cart]}, connections: {connections}"


def _runs_of(runs: Mapping[tuple, list[dict]], cart: str, number: int) -> dict[str, list[dict]]:
    return {key[2]: found for key, found in runs.items() if key[:2] == (cart, number)}


def compared(case: str, runs: Mapping[str, Sequence[dict]]) -> list[dict]:
    """Returns the records of a case: medians over the runs, and sums of the counts."""
    rows = []
    for metric in (*UNITS, *COUNTS):
        values = {name: _combined(metric, found) for name, found in runs.items()}
        own, bare = values.pop("ours", None), values.pop("floor", None)
        rows.append(record(case, metric, UNITS.get(metric, ""), own, bare, values))
    return rows


def _combined(metric: str, found: Sequence[dict]) -> float | None:
    values = [one[metric] for one in found if metric in one]
    if metric in COUNTS:
        return sum(values) if values else None
    return statistics.median(values) if values else None


def swap(plan: LoadPlan, home: Home) -> Iterator[dict]:
    """Changes the champion of the home ranker during a load; the alias ends where it was."""
    client = registry_client(home.journey)
    seconds = max(plan.seconds, 20)
    found = []
    with redis_of(home) as port, ours(home, port, plan.workers) as server:
        for turn in range(plan.repetitions):
            version = "2" if turn % 2 == 0 else "1"
            try:
                found.append(_swapped(plan, home, server, client, version, seconds))
            finally:
                if turn == plan.repetitions - 1:
                    client.set_registered_model_alias(HOME.model, CHAMPION, "1")
    swaps = [one["swap"] for one in found if one.get("swap")]
    case = f"swap, connections: {STEADY}"
    for count in COUNTS:
        yield record(case, count, "", sum(one[count] for one in found))
    yield record(case, "swaps seen", "", len(swaps), len(found))
    for when in ("before", "during"):
        values = [one[when]["p99"] for one in swaps]
        yield record(case, f"p99 {when}", "ms", statistics.median(values) if values else None)


def _swapped(plan: LoadPlan, home: Home, server: Server, client, version: str, seconds: float):
    """Sets the alias in the first half of a load."""
    more = {"seconds": seconds, "marker": f'"version":"{version}"'}
    with plan.loading(server.port, bodies(home, "empty"), STEADY, **more) as process:
        time.sleep(plan.warm + seconds * 0.4)
        client.set_registered_model_alias(HOME.model, CHAMPION, version)
        found = answer_of(process)
    progress(
        f"swap to version {version}: {found['failed']} failed, {found.get('swap') or 'not seen'}"
    )
    return found


def memory(plan: LoadPlan, home: Home) -> Iterator[dict]:
    """Measures the resident memory of the largest worker, when ready and after a load."""
    with redis_of(home) as port, ours(home, port, plan.workers) as server:
        ready = max(server.resident())
        plan.load(server.port, bodies(home, "twenty"), 64)
        yield record("memory of a worker", "ready", "MB", ready)
        yield record("memory of a worker", "after load", "MB", max(server.resident()))


def soak(plan: LoadPlan, home: Home, seconds: float) -> Iterator[dict]:
    """Measures the memory of the largest worker after a tenth of a long load and at its end."""
    readings = []
    with ExitStack() as stack:
        port = stack.enter_context(redis_of(home))
        server = stack.enter_context(ours(home, port, plan.workers))
        loading = plan.loading(server.port, bodies(home, "twenty"), STEADY, seconds=seconds)
        process = stack.enter_context(loading)
        while process.poll() is None:
            readings.append(max(server.resident()))
            time.sleep(min(SOAK_SECONDS, seconds / 20))
        found = answer_of(process)
    tenth = max(1, len(readings) // 10)
    case = f"soak of {seconds:,.0f} s, connections: {STEADY}"
    early = statistics.median(readings[tenth : 2 * tenth] or readings)
    yield record(case, "memory after a tenth", "MB", early)
    yield record(case, "memory at the end", "MB", statistics.median(readings[-tenth:]))
    yield record(case, "largest memory", "MB", max(readings))
    yield record(case, "p99", "ms", found.get("p99"))
    for count in COUNTS:
        yield record(case, count, "", found[count])


def ready(plan: LoadPlan, home: Home) -> Iterator[dict]:
    """Measures the time from start to the first 200 of /readyz; the floor is its imports."""
    with redis_of(home) as port:
        names = _imported(home, port)
        # Modules that fail to import alone were not imported by the service either.
        missing = set(_bare(home, names)[1])
        names = [name for name in names if name not in missing]
        took, imports = [], []
        for _ in range(plan.repetitions):
            imports.append(_bare(home, names)[0])
            with ours(home, port, plan.workers) as server:
                took.append(server.seconds)
            progress(
                f"ready after {took[-1]:.1f} s; {len(names)} imports alone {imports[-1]:.1f} s"
            )
    yield record("start to ready", "time", "s", statistics.median(took), statistics.median(imports))


def _bare(home: Home, names: Sequence[str]) -> tuple[float, list[str]]:
    """Imports modules in a new process; returns its seconds and the modules that failed.

    The process has its own session, as every server here: the scheduler divides time by session.
    """
    command = [sys.executable, "-c", BARE, *names]
    environment = os.environ | home.environment
    began = time.perf_counter()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, start_new_session=True
    )
    done.check_returncode()
    return time.perf_counter() - began, done.stdout.split()


def _imported(home: Home, redis: int) -> list[str]:
    """Returns the modules that a service has imported when it is ready, in order."""
    with ours(home, redis, 1, (sys.executable, "-X", "importtime", CLIPWISE)) as server:
        assert answers(server.port, "/readyz")
        lines = server.output.read_text(errors="replace").splitlines()
    names = [line.rsplit("|", 1)[1].strip() for line in lines if line.startswith(IMPORTED)]
    return [name for name in names[1:] if name.replace(".", "").replace("_", "").isalnum()]
