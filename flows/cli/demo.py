"""The demo: the whole loop on the Complete Journey, from raw rows to an answer over HTTP."""

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError

from feature_repo.lake.reader import Lake
from feature_repo.names import RANKERS, RankerNames
from flows.champion import promote
from flows.cli.demo_visit import Visit, last_basket
from flows.cli.output import lake, models, terminal
from flows.cli.output.recommendation import recommended
from flows.ingest import ingest
from flows.materialize import materialize
from flows.offline_recommendation import cart_from_json, recommend
from flows.retrain import retrain
from flows.runtime import now, prepare_environment, run_flow, tracking_uri
from serving.access.api_keys import KeyFile
from training.registry.promotion_gate import Decision

REASON = "demo"
SHOWN = 3
"""Number of coupons in a list of the demo."""


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
    """Ingests, materializes, trains both rankers, promotes, and answers a household over HTTP."""
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
    visit = last_basket(Lake(home))
    _print_lists(visit)
    _send_requests(home, visit)
    _print_links(home, visit.user_id, time.monotonic() - started)


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
    terminal.console.print(
        "\nNext, a ranker is trained for each of two moments: home for a visit, before its basket "
        "is known, and checkout for the visit with its cart. Both are compared with plain rules "
        "on the visits of the last eight weeks, which come after all training data."
    )
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


def _print_lists(visit: Visit) -> None:
    """Prints the coupons of a household before a visit and with a cart, as of the watermark."""
    at_home = recommend(visit.user_id, k=SHOWN)
    terminal.console.rule(f"Household {visit.user_id}, before a visit and with a cart")
    terminal.console.print(
        "A campaign is open to this household at the demo's clock. Its cart here is its last "
        f"basket, of {terminal.instant(visit.basket_timestamp)}: {len(visit.cart)} products, of "
        f"which its coupons cover {visit.covered}. The household's history has that basket too."
    )
    terminal.console.print("\n[bold]At home, before the visit[/]")
    recommended(at_home)
    cart = cart_from_json(json.dumps(visit.cart))
    at_checkout = recommend(visit.user_id, k=SHOWN, placement="checkout", cart=cart)
    terminal.console.print(
        "\n[bold]At the checkout, with the cart[/]: coupons that cover none of it are not shown."
    )
    recommended(at_checkout, visit.in_cart)


def _send_requests(home: Path, visit: Visit) -> None:
    terminal.console.rule("The same over HTTP")
    terminal.console.print(
        "In replay, the service's clock is fixed at the end of the data. Lists are shortened here."
    )
    bodies: list[dict[str, Any]] = [
        {"user_id": visit.user_id, "placement": "home", "k": SHOWN},
        {"user_id": visit.user_id, "placement": "checkout", "k": SHOWN, "cart": visit.cart},
    ]
    with served(home) as url, _key(home) as key:
        for body in bodies:
            _send(url, key, body)


def _send(url: str, key: dict[str, str], body: dict[str, Any]) -> None:
    """Sends a request for coupons, and prints it and its answer as shortened JSON."""
    request = urllib.request.Request(
        f"{url}/v1/recommendations",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"} | key,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, found = answer.status, json.load(answer)
    except HTTPError as error:
        raise DemoFailed(f"The service answered {error.code}: {error.read().decode()}") from error
    terminal.console.print("\n[bold]POST /v1/recommendations[/]")
    terminal.console.print_json(data=shortened(body, "cart"))
    terminal.console.print(f"[bold]{status}[/]")
    terminal.console.print_json(data=shortened(found, "recommendations"))


def shortened(body: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns a body of JSON whose list ``name`` has its first entry, and the number of others.

    >>> shortened({"k": 3, "cart": [{"product_id": "1"}, {"product_id": "2"}]}, "cart")
    {'k': 3, 'cart': [{'product_id': '1'}, '... 1 more']}
    >>> shortened({"k": 3}, "cart")
    {'k': 3}
    """
    if len(body.get(name, ())) <= 1:
        return body
    first, *others = body[name]
    return body | {name: [first, f"... {len(others)} more"]}


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


def _print_links(home: Path, user: str, seconds: float) -> None:
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
        f"The household: .venv/bin/clipwise recommend --user {user}",
        "The service: .venv/bin/clipwise serve --replay, then http://127.0.0.1:8080/docs",
    ):
        terminal.console.print(f"  - {line}", soft_wrap=True, highlight=False)
    terminal.console.print(f"The demo took {seconds:.0f} s.")
