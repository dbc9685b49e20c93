"""Runs commands and the service as processes, each stopped by its own id."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from serving.client import Client, RetryPolicy
from tests.support.forked import run_program
from tests.support.places import ROOT

CLIPWISE = Path(sys.executable).with_name("clipwise")


class Running(NamedTuple):
    url: str
    home: Path
    log: Path
    process_id: int

    def client(self, token: str | None = None, **retry: float) -> Client:
        return Client(self.url, token, RetryPolicy(**retry))


def clipwise(
    home: Path, *arguments: str, code: int = 0, **environ: str
) -> subprocess.CompletedProcess:
    """Runs a command of ``clipwise`` in a process of its own, and checks its exit code.

    The process has the large libraries imported already. The service runs by the installed script.
    """
    environment = os.environ | {"CLIPWISE_HOME": str(home), "COLUMNS": "160"} | environ
    done = run_program("flows.cli.main:main", list(arguments), environment, ROOT, timeout=180)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@contextmanager
def running(home: Path, log: Path, *arguments: str, **environ: str) -> Iterator[Running]:
    """Runs the service in replay on a free port, and stops it by its own id."""
    with log.open("w") as lines:
        process = subprocess.Popen(
            [CLIPWISE, "serve", "--replay", "--port", "0", *arguments],
            env=os.environ | {"CLIPWISE_HOME": str(home), "COLUMNS": "300"} | environ,
            stdout=subprocess.PIPE,
            stderr=lines,
            text=True,
        )
        try:
            words = process.stdout.readline().split()
            url = next((word for word in words if word.startswith("http://")), None)
            assert url, log.read_text()
            wait_for(url, process)
            yield Running(url, home, log, process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)
            process.stdout.close()


def output(home: Path, *arguments: str, code: int = 0, **environ: str) -> str:
    """Runs a command and returns what it printed, on both streams."""
    done = clipwise(home, *arguments, code=code, **environ)
    return done.stdout + done.stderr


def wait_for(url: str, process: subprocess.Popen) -> None:
    """Waits until the service answers, at most a minute."""
    for _ in range(300):
        assert process.poll() is None, "the service ended before it answered"
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=1).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError("the service did not answer within a minute")
