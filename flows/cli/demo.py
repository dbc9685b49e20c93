"""The demo: the whole loop on the Complete Journey, from raw rows to an answer over HTTP."""

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from feature_repo.lake.duckdb_files import query
from feature_repo.lake.reader import Lake
from feature_repo.names import RANKERS, RankerNames
from flows.champion import promote
from flows.cli.output import lake, models, terminal
from flows.cli.output.recommendation import recommended
from flows.ingest import ingest
from flows.materialize import materialize
from flows.offline_recommendation import recommend
from flows.retrain import retrain
from flows.runtime import now, prepare_environment, run_flow, tracking_uri
from serving.access.api_keys import KeyFile
from training.registry.promotion_gate import Decision

REASON = "demo"
HOUSEHOLDS = 3


class DemoFailed(Exception):
    """A part of the demo did not run."""


class GatedVersion(Protocol):
    """A registered version of a ranker and the gate's decision on it."""

    @property
    def ranker(self) -> RankerNames:
        """The ranker of the version."""

    @property
    def version(self) -> str:
        """The number of the version."""

    @property
    def decision(self) -> Decision:
        """The gate's decision."""


def demo() -> None:
    """Ingests, materializes, trains, promotes if the gate passes, recommends, and serves."""
    started = time.monotonic()
    home = prepare_environment()
    terminal.console.rule("[bold]Clipwise demo[/]: the Complete Journey, 2017")
    terminal.console.print(
        "One year of purchases by 2,469 real households, published by dunnhumby. The demo's clock "
        f"is fixed at the end of 2017. Its state is in {home}."
    )
    _ingest()
    _materialize()
    _train(home)
    users = active_households(Lake(home))
    for user in users:
        recommended(recommend(user, k=5))
    _send_request(home, users[-1])
    _print_links(home, time.monotonic() - started)


def _ingest() -> None:
    with terminal.progress("Ingest"):
        result = run_flow(ingest, source="complete_journey")
    lake.ingested(result)


def _materialize() -> None:
    with terminal.progress("Materialize"):
        until = run_flow(materialize)
    terminal.console.print(
        f"Online features are complete up to [bold]{terminal.instant(until)}[/]."
    )


def _train(home: Path) -> None:
    with terminal.progress("Train"):
        results = run_flow(retrain)
    for result in results:
        models.trained(result)
        promote_if_passed(home, result)


def promote_if_passed(home: Path, result: GatedVersion) -> bool:
    """Promotes a version that passed the gate, in place of a reviewer; prints the outcome.

    Returns true if the version was promoted.
    """
    if not result.decision.passed:
        terminal.console.print(
            f"{result.ranker.model} version {result.version} is not promoted, because the gate "
            "failed. The service keeps its ranker: the champion if there is one, else the rule "
            f"{result.ranker.rule}."
        )
        return False
    promote(home, result.ranker, result.version, REASON, "clipwise demo")
    terminal.console.print(
        f"{result.ranker.model} version {result.version} is now champion, with the reason "
        f"'{REASON}'. Outside the demo, a reviewer reads the report in the MLflow UI and decides."
    )
    return True


def active_households(lake: Lake) -> list[str]:
    """Returns the users with the most purchases among those with a campaign at the watermark."""
    state = lake.state()
    found = query(
        f"""
        SELECT user_id FROM bought WHERE user_id IN (
            SELECT user_id FROM ({lake.scan("exposures", state)}) WHERE campaign_id IN (
                SELECT campaign_id FROM ({lake.scan("coupons", state)})
                WHERE valid_to > '{state.watermark.isoformat()}'))
        GROUP BY user_id ORDER BY count(*) DESC, user_id LIMIT {HOUSEHOLDS}
        """,
        bought=lake.known("events", state),
    )
    return found["user_id"].to_pylist()


def _send_request(home: Path, user: str) -> None:
    body = {"user_id": user, "placement": "home", "k": 3}
    with served(home) as url, _key(home) as key:
        request = urllib.request.Request(
            f"{url}/v1/recommendations",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"} | key,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, text = answer.status, json.load(answer)
    terminal.console.print("\nThe same over HTTP, in replay (the clock is fixed at the watermark):")
    terminal.console.print(f"[bold]POST /v1/recommendations[/] {json.dumps(body)}")
    terminal.console.print(f"[bold]{status}[/]")
    terminal.console.print_json(data=text)


@contextmanager
def served(home: Path) -> Iterator[str]:
    """Runs the service in replay on a free port, in a thread, and returns its URL."""
    import uvicorn

    from serving.main import build, load_settings

    app = build(load_settings(home=str(home), replay=True))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, name="clipwise-demo-service")
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise DemoFailed("The service stopped during its start; see the log above.")
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _key(home: Path) -> Iterator[dict[str, str]]:
    """Returns the header with a temporary API key, or no header if the service needs no key."""
    file = KeyFile(home)
    if not file.exists():
        yield {}
        return
    key, token = file.add("demo", ["recommend"], now())
    try:
        yield {"Authorization": f"Bearer {token}"}
    finally:
        file.revoke(key.id)


def _print_links(home: Path, seconds: float) -> None:
    logging.getLogger(__name__).info("demo took %.0f s", seconds)
    terminal.console.rule("Where to look next")
    for line in (
        f"Data Docs of the last batch: {home / 'data_docs' / 'index.html'}",
        *(
            f"The training report of {names.model}: {home / 'reports' / key}/training_report.html"
            for key, names in RANKERS.items()
        ),
        f"Runs and models: .venv/bin/mlflow ui --backend-store-uri {tracking_uri(home)}",
        "Features: cd feature_repo && ../.venv/bin/feast ui",
        "One household: .venv/bin/clipwise recommend --user 900",
        "The service: .venv/bin/clipwise serve --replay, then http://127.0.0.1:8080/docs",
    ):
        terminal.console.print(f"  - {line}", soft_wrap=True, highlight=False)
    terminal.console.print(f"The demo took {seconds:.0f} s.")
