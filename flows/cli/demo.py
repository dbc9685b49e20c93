"""The demo: the whole loop on the Complete Journey, from raw rows to an answer over HTTP."""

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from feature_repo.lake.duckdb_files import query
from feature_repo.lake.reader import Lake
from flows.champion import promote
from flows.cli import metric_tables, terminal
from flows.ingest import ingest
from flows.materialize import materialize
from flows.offline_recommendation import recommend
from flows.retrain import Retrained, retrain
from flows.runtime import now, prepare_environment, run, tracking_uri
from serving.access.api_keys import KeyFile

REASON = "demo"
HOUSEHOLDS = 3


def demo() -> None:
    """Ingest, materialize, train, promote if the gate passes, recommend, serve one request."""
    started = time.monotonic()
    home = prepare_environment()
    terminal.console.rule("[bold]Clipwise demo[/]: the Complete Journey, 2017")
    terminal.console.print(
        "A year of 2,469 real households, published by dunnhumby. Its clock stands at the end of "
        f"2017. State goes to {home}."
    )
    _rows()
    with terminal.progress("Materialize"):
        until = run(materialize)
    terminal.console.print(
        f"Online features are complete up to [bold]{terminal.instant(until)}[/]."
    )
    _model(home)
    for user in households(Lake(home)):
        terminal.recommended(recommend(user, k=5))
    _request(home, user)
    _where_next(home, time.monotonic() - started)


def _rows() -> None:
    with terminal.progress("Ingest"):
        result = run(ingest, source="complete_journey")
    terminal.ingested(result)


def _model(home) -> Retrained:
    with terminal.progress("Train"):
        result = run(retrain)
    metric_tables.metrics(result.evaluation.table)
    terminal.decision(result.decision)
    promote_or_say_why(home, result)
    return result


def promote_or_say_why(home, result: Retrained) -> bool:
    """Promote a version that passed, in the reviewer's place; else the rule goes on serving."""
    if not result.decision.passed:
        terminal.console.print(
            f"So version {result.version} is not promoted; what served before goes on serving: "
            "the champion if there is one, else the rule of own spend."
        )
        return False
    promote(home, result.version, REASON, "clipwise demo")
    terminal.console.print(
        f"Version {result.version} is champion now, with the reason '{REASON}'. Normally a "
        "reviewer reads the report in the MLflow UI and decides."
    )
    return True


def households(lake: Lake) -> list[str]:
    """The users with most purchases among those whom an open campaign reaches at the watermark."""
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


def _request(home, user: str) -> None:
    body = {"user_id": user, "placement": "home", "k": 3}
    with served(home) as url, _key(home) as key:
        request = urllib.request.Request(
            f"{url}/v1/recommendations",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"} | key,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, text = answer.status, json.load(answer)
    terminal.console.print("\nThe same over HTTP, in replay (the clock stands at the watermark):")
    terminal.console.print(f"[bold]POST /v1/recommendations[/] {json.dumps(body)}")
    terminal.console.print(f"[bold]{status}[/]")
    terminal.console.print_json(data=text)


@contextmanager
def served(home) -> Iterator[str]:
    """The service in replay on a free port, in a thread, while the block runs."""
    import uvicorn

    from serving.main import build, load_settings

    app = build(load_settings(home=str(home), replay=True))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, name="clipwise-demo-service")
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise DemoFailed("The service ended before it answered; see the log above.")
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _key(home) -> Iterator[dict[str, str]]:
    """The header for a service that asks for a key because there are some; gone afterwards."""
    file = KeyFile(home)
    if not file.exists():
        yield {}
        return
    key, token = file.add("demo", ["recommend"], now())
    try:
        yield {"Authorization": f"Bearer {token}"}
    finally:
        file.revoke(key.id)


class DemoFailed(Exception):
    """A part of the demo that should run did not."""


def _where_next(home, seconds: float) -> None:
    logging.getLogger(__name__).info("demo took %.0f s", seconds)
    terminal.console.rule("Where to look next")
    for line in (
        f"Data Docs of the last batch: {home / 'data_docs' / 'index.html'}",
        f"The training report: {home / 'reports' / 'training_report.html'}",
        f"Runs and models: .venv/bin/mlflow ui --backend-store-uri {tracking_uri(home)}",
        "Features: cd feature_repo && ../.venv/bin/feast ui",
        "One household: .venv/bin/clipwise recommend --user 900",
        "The service: .venv/bin/clipwise serve --replay, then http://127.0.0.1:8080/docs",
    ):
        terminal.console.print(f"  - {line}", soft_wrap=True, highlight=False)
    terminal.console.print(f"The demo took {seconds:.0f} s.")
