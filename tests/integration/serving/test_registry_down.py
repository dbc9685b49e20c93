"""An MLflow server that is down at the start or later, and artifacts that are gone."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

from feature_repo.names import HOME
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.models.mlflow_registry import MlflowRegistry
from serving.models.slot import ModelSlot
from tests.support.registered import model_file, registered, set_alias, store

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def home(tmp_path):
    return tmp_path


def slot(home, has_challenger: bool = False) -> ModelSlot:
    return ModelSlot(HOME, MlflowRegistry(store(home).uri, HOME), has_challenger=has_challenger)


def test_rollback_needs_no_artifacts(home):
    first, second = registered(home, seed=1), registered(home, seed=2)
    serving = slot(home)
    for version in (first, second):
        set_alias(home, version)
        serving.refresh()
    assert (serving.current.version, serving.problem) == (second, None)
    shutil.rmtree(home / "mlartifacts")
    set_alias(home, first)
    serving.refresh()
    assert (serving.current.version, serving.problem) == (first, None)
    assert serving.models.previous.version == second


def test_challenger_passes_the_same_checks_as_a_champion(home):
    champion, sound, truncated = (registered(home, seed=seed) for seed in (1, 2, 3))
    file = model_file(home, truncated)
    file.write_bytes(file.read_bytes()[:100])
    set_alias(home, champion)
    serving = slot(home, has_challenger=True)
    set_alias(home, sound, "challenger")
    serving.refresh()
    assert serving.models.challenger.version == sound
    set_alias(home, truncated, "challenger")
    serving.refresh()
    assert serving.models.challenger is None and "sha256" in serving.challenger_problem
    assert (serving.current.version, serving.problem) == (champion, None)


@pytest.fixture
def address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


class Server:
    """An MLflow server on a state folder, in its own process group."""

    def __init__(self, home, address: str) -> None:
        host, port = address.split(":")
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", host, "--port", port, "--backend-store-uri", store(home).uri]
        command += ["--artifacts-destination", str(home / "mlartifacts")]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.address = address

    def wait(self) -> None:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://{self.address}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the MLflow server did not start")

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()


def test_ranker_stays_while_the_server_is_down_at_the_start_and_later(home, address, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    version = registered(home)
    set_alias(home, version)
    serving = ModelSlot(HOME, MlflowRegistry(f"http://{address}", HOME))
    serving.refresh()
    assert serving.current.name == "spend_percov" and "does not answer" in serving.problem
    server = Server(home, address)
    try:
        server.wait()
        serving.refresh()
        assert (serving.current.version, serving.problem) == (version, None)
    finally:
        server.stop()
    rows = np.random.default_rng(3).random((5, len(RANKER_INPUTS)), dtype=np.float32)
    before = serving.current.score(rows)
    serving.refresh()
    assert serving.current.name == HOME.model and "does not answer" in serving.problem
    assert (serving.current.score(rows) == before).all()
