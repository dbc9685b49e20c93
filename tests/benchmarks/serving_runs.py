"""The parts of the serving benchmark: what is measured, in which order, and the records of it."""

import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from feature_repo.names import CHAMPION, RANKER_MODEL
from tests.benchmarks.competing import say
from tests.benchmarks.measuring import record
from tests.benchmarks.serving_course import Course, answer_of
from tests.benchmarks.serving_data import CLIPWISE, Home, registry_client
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
"""How long everybody's first request may take together, before the rest is left out."""
STEADY = 8
"""Connections of the loads that go on while something else happens."""
SOAK_LOOK = 10
IMPORTED = "import time:"
BARE = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception:
        print(name)
"""


def ceiling(course: Course, home: Home) -> Iterator[dict]:
    """What the load generator reaches on a server that does nothing."""
    with trivial(home) as server:
        for connections in (1, 64):
            found = course.load(server.port, bodies(home, "empty"), connections, whole="")
            say(f"load generator on a server that does nothing, {connections} connections:")
            say(f"  p50 {found['p50']:.2f} ms, {found['rate']:,.0f} requests a second")
            case = f"load generator alone, {connections} connections"
            for metric in ("p50", "p99", "rate"):
                yield record(case, metric, UNITS[metric], None, found[metric])


def beside_the_floor(
    course: Course, home: Home, connections: Sequence[int], stock: Sequence[int]
) -> list[dict]:
    """Ours and the floor in turns, and the stock pair at the ``stock`` numbers of connections."""
    runs: dict[tuple, list[dict]] = defaultdict(list)
    with ExitStack() as stack:
        port = stack.enter_context(redis_of(home))
        servers = {
            "floor": stack.enter_context(floor(home, port, course.workers)),
            "ours": stack.enter_context(ours(home, port, course.workers)),
        }
        met = _met(course, home, servers)
        for turn in range(course.repetitions):
            for number in connections:
                for cart in CARTS:
                    for name, server in servers.items():
                        found = course.load(server.port, bodies(home, cart), number)
                        runs[cart, number, name].append(found)
                        _tell(case_of(home.candidates, cart, number), name, turn, found)
        if stock:
            pair = (
                stack.enter_context(feast_serve(home, port)).port,
                stack.enter_context(mlflow_serve(home)).port,
            )
        for turn in range(course.repetitions):
            for number in stock:
                runs["empty", number, STOCK].append(found := course.stock(pair, home, number))
                _tell(case_of(home.candidates, "empty", number), STOCK, turn, found)
    cases = {
        case_of(home.candidates, cart, number): _of(runs, cart, number)
        for number in connections
        for cart in CARTS
    }
    if 1 in connections:
        cases = {_first(home): met} | cases
    return [row for case, found in cases.items() for row in compared(case, found)]


def _met(course: Course, home: Home, servers: Mapping[str, Server]) -> dict[str, list[dict]]:
    """One request of everybody, right after the start: all later ones are not first.

    At most ``FIRST_SECONDS`` of them, on each side.
    """
    runs = {}
    for name, server in servers.items():
        more = {"once": True, "warm": 0, "seconds": FIRST_SECONDS}
        found = course.load(server.port, bodies(home, "empty"), 1, **more)
        runs[name] = [found]
        _tell(_first(home), name, 0, found)
    return runs


def _first(home: Home) -> str:
    return f"{home.candidates:,} candidates, {CARTS['empty']}, everybody's first request"


def _tell(case: str, name: str, turn: int, found: dict) -> None:
    if not found["answers"]:
        say(f"{case}: {name}, run {turn + 1}: no answer; {found['said']}")
        return
    times = f"p50 {found['p50']:.2f}, p99 {found['p99']:.2f} ms"
    say(f"{case}: {name}, run {turn + 1}: {times}, {found['rate']:,.0f} a second")


def case_of(candidates: int, cart: str, connections: int) -> str:
    """The name of a case, which the bars read again."""
    return f"{candidates:,} candidates, {CARTS[cart]}, connections: {connections}"


def _of(runs: Mapping[tuple, list[dict]], cart: str, number: int) -> dict[str, list[dict]]:
    return {key[2]: found for key, found in runs.items() if key[:2] == (cart, number)}


def compared(case: str, runs: Mapping[str, Sequence[dict]]) -> list[dict]:
    """The records of a case: medians over the runs, and the failed of all of them."""
    rows = []
    for metric in (*UNITS, *COUNTS):
        values = {name: _middle(metric, found) for name, found in runs.items()}
        own, bare = values.pop("ours", None), values.pop("floor", None)
        rows.append(record(case, metric, UNITS.get(metric, ""), own, bare, values))
    return rows


def _middle(metric: str, found: Sequence[dict]) -> float | None:
    values = [one[metric] for one in found if metric in one]
    if metric in COUNTS:
        return sum(values) if values else None
    return statistics.median(values) if values else None


def swap(course: Course, home: Home) -> Iterator[dict]:
    """Another version becomes champion while connections load; the alias ends where it was."""
    client = registry_client(home.journey)
    seconds = max(course.seconds, 20)
    found = []
    with redis_of(home) as port, ours(home, port, course.workers) as server:
        for turn in range(course.repetitions):
            version = "2" if turn % 2 == 0 else "1"
            try:
                found.append(_swapped(course, home, server, client, version, seconds))
            finally:
                if turn == course.repetitions - 1:
                    client.set_registered_model_alias(RANKER_MODEL, CHAMPION, "1")
    swaps = [one["swap"] for one in found if one.get("swap")]
    case = f"swap, connections: {STEADY}"
    for count in COUNTS:
        yield record(case, count, "", sum(one[count] for one in found))
    yield record(case, "swaps seen", "", len(swaps), len(found))
    for when in ("before", "during"):
        values = [one[when]["p99"] for one in swaps]
        yield record(case, f"p99 {when}", "ms", statistics.median(values) if values else None)


def _swapped(course: Course, home: Home, server: Server, client, version: str, seconds: float):
    """A load in whose first half the alias is set."""
    more = {"seconds": seconds, "marker": f'"version":"{version}"'}
    with course.loading(server.port, bodies(home, "empty"), STEADY, **more) as process:
        time.sleep(course.warm + seconds * 0.4)
        client.set_registered_model_alias(RANKER_MODEL, CHAMPION, version)
        found = answer_of(process)
    say(f"swap to version {version}: {found['failed']} failed, {found.get('swap') or 'not seen'}")
    return found


def memory(course: Course, home: Home) -> Iterator[dict]:
    """Resident memory of the largest worker, once ready and after a load."""
    with redis_of(home) as port, ours(home, port, course.workers) as server:
        ready = max(server.resident())
        course.load(server.port, bodies(home, "twenty"), 64)
        yield record("memory of a worker", "ready", "MB", ready)
        yield record("memory of a worker", "after load", "MB", max(server.resident()))


def soak(course: Course, home: Home, seconds: float) -> Iterator[dict]:
    """Memory of the largest worker under a long load, after a tenth of it and at its end."""
    seen = []
    with ExitStack() as stack:
        port = stack.enter_context(redis_of(home))
        server = stack.enter_context(ours(home, port, course.workers))
        loading = course.loading(server.port, bodies(home, "twenty"), STEADY, seconds=seconds)
        process = stack.enter_context(loading)
        while process.poll() is None:
            seen.append(max(server.resident()))
            time.sleep(min(SOAK_LOOK, seconds / 20))
        found = answer_of(process)
    tenth = max(1, len(seen) // 10)
    case = f"soak of {seconds:,.0f} s, connections: {STEADY}"
    early = statistics.median(seen[tenth : 2 * tenth] or seen)
    yield record(case, "memory after a tenth", "MB", early)
    yield record(case, "memory at the end", "MB", statistics.median(seen[-tenth:]))
    yield record(case, "largest memory", "MB", max(seen))
    yield record(case, "p99", "ms", found.get("p99"))
    for count in COUNTS:
        yield record(case, count, "", found[count])


def ready(course: Course, home: Home) -> Iterator[dict]:
    """Seconds from the start to the first 200 of /readyz, beside importing the same modules."""
    with redis_of(home) as port:
        names = _imported(home, port)
        # What the service tried and found missing would pull in what it never had.
        missing = set(_bare(home, names)[1])
        names = [name for name in names if name not in missing]
        took, imports = [], []
        for _ in range(course.repetitions):
            imports.append(_bare(home, names)[0])
            with ours(home, port, course.workers) as server:
                took.append(server.seconds)
            say(f"ready after {took[-1]:.1f} s; {len(names)} imports alone {imports[-1]:.1f} s")
    yield record("start to ready", "time", "s", statistics.median(took), statistics.median(imports))


def _bare(home: Home, names: Sequence[str]) -> tuple[float, list[str]]:
    """Seconds of a process that only imports modules, and those that it could not.

    It has a session of its own, as every server here: the scheduler shares out time by session.
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
    """The modules that a service has imported by the time it is ready, in their order."""
    with ours(home, redis, 1, (sys.executable, "-X", "importtime", CLIPWISE)) as server:
        assert answers(server.port, "/readyz")
        lines = server.said.read_text(errors="replace").splitlines()
    names = [line.rsplit("|", 1)[1].strip() for line in lines if line.startswith(IMPORTED)]
    return [name for name in names[1:] if name.replace(".", "").replace("_", "").isalnum()]
