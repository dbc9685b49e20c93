"""Runs the commands of the documents on the example shop, from their own code blocks.

All documents share one state folder and are run in the order of reading. A command that an earlier
document showed with the same words is not run again.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.documents import assigned, blocks, commands, documents, text_of
from tests.support.forked import run_program
from tests.support.places import ROOT
from tests.support.processes import running

SHOWN_URL = "http://127.0.0.1:8080"
CLIPWISE = ".venv/bin/clipwise"
SERVE = f"{CLIPWISE} serve"
ENTRY = "flows.cli.main:main"
"""Entry point of the installed script. The service and ``--help`` run the script itself."""

SHELL_SYNTAX = set("$|<>&;`*\\")
"""A command with one of these needs a shell. The others run in a process that imports faster."""

# The beginning of a command that cannot run here, and the reason.
NOT_RUN: Mapping[str, str] = {
    "make demo": "takes minutes; continuous integration runs it beside the tests",
    "make test": "runs this test",
    "make unit": "runs tests",
    "make lint": "reads the code, not the shop; continuous integration runs it",
    "make up": "starts servers on fixed ports",
    "make down": "stops the servers of make up",
    "make lock": "needs a network",
    "pre-commit install": "is not a dependency, and changes the reader's checkout",
    ".venv/bin/prefect": "needs a Prefect server",
    "export FEAST_FS_YAML_FILE_PATH=infra/feature_store.redis.yaml": "needs a Redis on port 6379",
    ".venv/bin/python tests/example/make.py": "writes into the checkout",
}
NOT_RUN_PYTHON: Mapping[str, str] = {
    "create_webhook": "needs an MLflow server",
}


class Shell:
    """Runs commands in a folder like the checkout, as one user in one session."""

    def __init__(self, checkout: Path, home: Path, stack: ExitStack) -> None:
        self._checkout = checkout
        self._home = home
        self._stack = stack
        self._variables: dict[str, str] = {}
        self._url = SHOWN_URL
        self._done: set[str] = set()

    def run(self, command: str) -> None:
        name, command = assigned(command)
        text = " ".join(shlex.split(command, comments=True))
        if text.startswith(SERVE):
            self._serve(text.removeprefix(SERVE).split())
        elif text.startswith("curl "):
            self._request(command)
        elif name is not None:
            self._variables[name] = self._output(command).strip()
        elif text not in self._done:
            self._done.add(text)
            self._output(command)

    def python(self, program: str) -> None:
        program = program.replace(SHOWN_URL, self._url)
        self._output(f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}")

    def end_document(self) -> None:
        """Stop the document's service, and forget its variables."""
        self._stack.close()
        self._variables.clear()

    def _serve(self, options: list[str]) -> None:
        self._stack.close()
        log = self._home.parent / "service.log"
        self._url = self._stack.enter_context(running(self._home, log, *options)).url

    def _output(self, command: str) -> str:
        environment = os.environ | {"CLIPWISE_HOME": str(self._home)} | self._variables
        words = shlex.split(command, comments=True)
        if words[0] == CLIPWISE and not set(command) & SHELL_SYNTAX:
            done = run_program(ENTRY, words[1:], environment, self._checkout, timeout=300)
        else:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self._checkout,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
            )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _request(self, command: str) -> None:
        """Send what curl would send, so that the test needs no curl."""
        shown = self._output(f"printf '%s\\0' {command.removeprefix('curl ')}").split("\0")[:-1]
        options = dict(zip(shown[1::2], shown[2::2], strict=True))
        headers = [shown[at + 1].split(": ", 1) for at, one in enumerate(shown) if one == "-H"]
        assert set(options) <= {"-H", "-d"}, command
        body = options.get("-d")
        request = urllib.request.Request(
            shown[0].replace(SHOWN_URL, self._url), body and body.encode(), dict(headers)
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            assert text, command
            if answer.headers["Content-Type"] == "application/json":
                assert json.loads(text).get("rejected", 0) == 0, text


@pytest.fixture(scope="module")
def shell(tmp_path_factory) -> Iterator[Shell]:
    """A folder that looks like the checkout; what the documents write does not reach the real one.

    ``my-shop`` stands for the reader's own folder of files.
    """
    folder = tmp_path_factory.mktemp("documents")
    checkout = folder / "checkout"
    checkout.mkdir()
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (checkout / path.name).symlink_to(path)
    (checkout / ".venv").symlink_to(sys.prefix)
    (checkout / "my-shop").symlink_to(ROOT / "tests" / "example")
    with ExitStack() as stack:
        yield Shell(checkout, folder / "home", stack)


def reason_not_to_run(command: str) -> str | None:
    return next((why for start, why in NOT_RUN.items() if command.startswith(start)), None)


def is_python_run(program: str) -> bool:
    return not any(word in program for word in NOT_RUN_PYTHON)


@pytest.mark.parametrize("document", documents(), ids=str)
def test_commands_of_a_document_run_on_the_example_shop(document, shell):
    try:
        for block in blocks(text_of(document)):
            if block.language == "python" and is_python_run(block.text):
                shell.python(block.text)
            if block.language == "sh":
                for command in commands(f"```sh\n{block.text}```"):
                    if reason_not_to_run(command) is None:
                        shell.run(command)
    finally:
        shell.end_document()


def test_every_exception_is_still_shown_by_a_document():
    texts = [text_of(document) for document in documents()]
    shown = [command for text in texts for command in commands(text)]
    for start in NOT_RUN:
        assert any(command.startswith(start) for command in shown), start
    programs = [block.text for text in texts for block in blocks(text)]
    for word in NOT_RUN_PYTHON:
        assert any(word in program for program in programs), word


def test_every_command_of_clipwise_but_the_demo_is_run():
    texts = [text_of(document) for document in documents()]
    shown = [assigned(command)[1] for text in texts for command in commands(text)]
    run = [command for command in shown if reason_not_to_run(command) is None]
    found = {one for command in run for one in re.findall(r"^\.venv/bin/clipwise (\w+)", command)}
    listed = subprocess.run(
        [Path(sys.executable).with_name("clipwise"), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "160"},
    ).stdout
    names = set(re.findall(r"^│ (\w+) ", listed, re.MULTILINE))
    assert len(names) > 10 and found == names - {"demo"}
