"""How long and how often the service is loaded, and what a load found."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.competing import CHECKOUT, say
from tests.benchmarks.serving_data import Home

PATH = "/v1/recommendations"
TENTH = '"rank":10'
"""What an answer with ten coupons has."""


@dataclass(frozen=True)
class Course:
    """How long and how often is measured, and with how many workers on both sides."""

    seconds: float
    warm: float
    repetitions: int
    workers: int

    def load(self, port: int, file: Path, connections: int, **more: object) -> dict:
        """One run of the load generator in a process of its own."""
        with self.loading(port, file, connections, **more) as process:
            return answer_of(process)

    @contextmanager
    def loading(
        self, port: int, file: Path, connections: int, **more: object
    ) -> Iterator[subprocess.Popen]:
        """The load generator while it runs."""
        spec = {"port": port, "path": PATH, "bodies": str(file), "connections": connections}
        spec |= {"seconds": self.seconds, "warm": self.warm, "whole": TENTH} | more
        with _process(["tests.benchmarks.load", json.dumps(spec)]) as process:
            yield process

    def stock(self, ports: tuple[int, int], home: Home, connections: int) -> dict:
        """The same of the stock pair's client."""
        spec = {"feast": ports[0], "mlflow": ports[1], "work": str(home.work)}
        spec |= {"connections": connections, "seconds": self.seconds, "warm": self.warm}
        with _process(["tests.benchmarks.serving_stock", "load", json.dumps(spec)]) as process:
            return answer_of(process)


@contextmanager
def _process(module: Sequence[str]) -> Iterator[subprocess.Popen]:
    """A module of ours that runs beside this one, and ends with the block at the latest."""
    environment = os.environ | {"PYTHONPATH": CHECKOUT}
    command = [sys.executable, "-m", *module]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answer_of(process: subprocess.Popen) -> dict:
    """What a load found, once it is over. Raises CalledProcessError if it broke."""
    said, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    found = json.loads(said)
    if found["said"]:
        say(f"{found['failed']} failed, {found.get('degraded', 0)} degraded: {found['said']}")
    return found
