"""Runs of the load generator against the service, and their results."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.competing import CHECKOUT, progress
from tests.benchmarks.serving_data import Home

PATH = "/v1/recommendations"
TENTH_COUPON = '"rank":10'
"""Text in every answer with ten coupons."""


@dataclass(frozen=True)
class LoadPlan:
    """Length and number of the measured loads, and the workers of ours and of the floor."""

    seconds: float
    warm: float
    repetitions: int
    workers: int

    def load(self, port: int, file: Path, connections: int, **more: object) -> dict:
        """Runs the load generator once, in its own process; returns its results."""
        with self.loading(port, file, connections, **more) as process:
            return answer_of(process)

    @contextmanager
    def loading(
        self, port: int, file: Path, connections: int, **more: object
    ) -> Iterator[subprocess.Popen]:
        """Starts the load generator; yields its process."""
        spec = {"port": port, "path": PATH, "bodies": str(file), "connections": connections}
        spec |= {"seconds": self.seconds, "warm": self.warm, "required": TENTH_COUPON} | more
        with _process(["tests.benchmarks.load", json.dumps(spec)]) as process:
            yield process

    def stock(self, ports: tuple[int, int], home: Home, connections: int) -> dict:
        """Runs the client of the stock pair once; returns its results."""
        spec = {"feast": ports[0], "mlflow": ports[1], "work": str(home.work)}
        spec |= {"connections": connections, "seconds": self.seconds, "warm": self.warm}
        with _process(["tests.benchmarks.serving_stock", "load", json.dumps(spec)]) as process:
            return answer_of(process)


@contextmanager
def _process(module: Sequence[str]) -> Iterator[subprocess.Popen]:
    """Runs a module in another process, which ends with the block at the latest."""
    environment = os.environ | {"PYTHONPATH": CHECKOUT}
    command = [sys.executable, "-m", *module]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answer_of(process: subprocess.Popen) -> dict:
    """Waits for a load and returns its results. Raises CalledProcessError if it failed."""
    output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    found = json.loads(output)
    if found["message"]:
        counts = f"{found['failed']} failed, {found.get('degraded', 0)} degraded"
        progress(f"{counts}: {found['message']}")
    return found
