"""Starts the servers of the serving benchmark, each in its own processes, and stops them."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.competing import CHECKOUT
from tests.benchmarks.serving_data import CLIPWISE, Home, registry_of, variables

START_SECONDS = 240
STOP_SECONDS = 20
POLL_SECONDS = 0.02
SERVING = re.compile(r"Serving on http://[^ ]*:(\d+)")

STOCK = """project: clipwise
provider: local
registry: {home}/registry.db
offline_store: {{type: duckdb}}
online_store: {{type: redis, connection_string: "127.0.0.1:{port}"}}
entity_key_serialization_version: 3
"""


class DidNotStart(Exception):
    """A server ended or did not answer; the message ends with its output."""


@dataclass(frozen=True)
class Server:
    """A server on ``port``: the id of its first process, and its seconds until ready."""

    port: int
    pid: int
    seconds: float
    output: Path

    def workers(self) -> list[int]:
        """Returns the ids of the workers: the children, or the first process without any."""
        import psutil

        first = psutil.Process(self.pid)
        children = [one for one in first.children(recursive=True) if _is_worker(one)]
        return [one.pid for one in children or [first]]

    def resident(self) -> list[float]:
        """Returns the resident memory of every worker in MB."""
        import psutil

        return [psutil.Process(pid).memory_info().rss / 2**20 for pid in self.workers()]


def _is_worker(process) -> bool:
    """True for a worker, False for Python's resource tracker."""
    return "resource_tracker" not in " ".join(process.cmdline())


def free_port() -> int:
    """Returns a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def started(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: Path,
    ready: Callable[[Path], int | None],
) -> Iterator[Server]:
    """Starts a server and stops it at the end; ``ready`` returns its port once it answers."""
    began = time.perf_counter()
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        port = None
        while port is None:
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise DidNotStart(f"{' '.join(command)}: {output.read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)
            port = ready(output)
        yield Server(port, process.pid, time.perf_counter() - began, output)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen) -> None:
    """Terminates a server, then kills what is left of its session."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def answers(port: int, path: str) -> bool:
    """True if a GET is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _at(port: int, path: str) -> Callable[[Path], int | None]:
    return lambda output: port if answers(port, path) else None


def _listening(output: Path) -> int | None:
    """Returns the port that our service logs, once it is ready."""
    found = SERVING.search(output.read_text(errors="replace"))
    return int(found[1]) if found and answers(int(found[1]), "/readyz") else None


@contextmanager
def redis_of(home: Home) -> Iterator[int]:
    """Starts the home's Redis with its saved data; yields the port."""
    import redis

    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--dir", str(home.work), "--dbfilename", "online.rdb"]

    def loaded(output: Path) -> int | None:
        try:
            return port if redis.Redis(port=port).ping() else None
        except redis.RedisError:
            return None

    with started(command, {}, home.work / "redis.log", loaded):
        yield port


@contextmanager
def ours(home: Home, redis: int, workers: int, prefix: Sequence[str] = (CLIPWISE,)):
    """Starts ``clipwise serve --replay`` with its defaults, on a free port."""
    command = [*prefix, "serve", "--replay", "--port", "0"]
    command += ["--workers", str(workers)] if workers > 1 else []
    environment = home.environment | at_redis(redis)
    with started(command, environment, home.work / "clipwise.log", _listening) as server:
        yield server


def at_redis(port: int) -> dict[str, str]:
    """Returns the variable with the address of the online store."""
    return {"REDIS_CONNECTION": f"127.0.0.1:{port}"}


@contextmanager
def floor(home: Home, redis: int, workers: int) -> Iterator[Server]:
    """Starts the bare service of ``serving_floor`` on the same model, rows and Redis."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "--port", str(port)]
    command += ["--workers", str(workers), "--no-access-log", "--log-level", "warning"]
    command += ["--ws", "none", "--no-server-header", "--no-proxy-headers"]
    command += ["tests.benchmarks.serving_floor:create_app"]
    environment = {
        "PYTHONPATH": CHECKOUT,
        "FLOOR_REDIS": str(redis),
        "FLOOR_MODEL": str(home.work / "model.ubj"),
        "FLOOR_INPUTS": str(home.work / "inputs.npy"),
    }
    output = home.work / "floor.log"
    with started(command, environment, output, _at(port, "/readyz")) as server:
        yield server


@contextmanager
def feast_serve(home: Home, redis: int) -> Iterator[Server]:
    """Starts ``feast serve`` with Feast's Redis store, on the same registry and Redis.

    By default its worker restarts after 1,000 requests; a restart is not part of the measurement.
    """
    port, repository = free_port(), home.work / "feast"
    repository.mkdir(exist_ok=True)
    (repository / "feature_store.yaml").write_text(STOCK.format(home=home.folder, port=redis))
    command = [str(Path(sys.executable).with_name("feast")), "--chdir", str(repository), "serve"]
    command += ["--port", str(port), "--no-access-log", "--max-requests", "100000000"]
    output = home.work / "feast.log"
    with started(command, variables(home.folder), output, _at(port, "/health")) as server:
        yield server


@contextmanager
def mlflow_serve(home: Home) -> Iterator[Server]:
    """Starts ``mlflow models serve`` with the champion, in this environment."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("mlflow")), "models", "serve"]
    command += ["--model-uri", "models:/home_ranker@champion", "--env-manager", "local"]
    command += ["--port", str(port)]
    environment = variables(home.folder) | {"MLFLOW_TRACKING_URI": registry_of(home.journey)}
    # MLflow starts `uvicorn` by name, so it must be on the path.
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    output = home.work / "mlflow.log"
    with started(command, environment, output, _at(port, "/ping")) as server:
        yield server


TRIVIAL = """
import asyncio, sys, uvloop
ANSWER = b"HTTP/1.1 200 OK\\r\\ncontent-length: 2400\\r\\n\\r\\n" + bytes(2400)
class Always(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(ANSWER)
async def main():
    server = await asyncio.get_running_loop().create_server(Always, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
uvloop.run(main())
"""


@contextmanager
def trivial(home: Home) -> Iterator[Server]:
    """Starts a server that answers every request at once with 2,400 bytes, as for ten coupons."""
    port = free_port()
    command = [sys.executable, "-c", TRIVIAL, str(port)]
    with started(command, {}, home.work / "trivial.log", _at(port, "/")) as server:
        yield server
