"""The example shop with few coupons left: what a shop sees of limits, budgets and quotes."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.places import ROOT

CLIPWISE = Path(sys.executable).with_name("clipwise")
USERS = [f"card-{number:03d}" for number in range(1, 41)]

TERMS = """coupon_id,event_timestamp,total_limit,campaign_budget,max_discount,placements,min_margin
summer-9,2025-06-02,3,,,,
summer-10,2025-06-02,,,,home,
summer-12,2025-06-02,,,,,90
garden-5,2025-05-05,,3.00,,,
garden-6,2025-05-05,,,1.00,,
"""
COSTS = {"garden-5": 50, "garden-6": 100, "garden-7": 150, "garden-8": 200}
WRONG = """coupon_id,event_timestamp,period_limit,campaign_budget,placements
summer-9,2025-06-03,2,,
summer-10,2025-06-03,,,home roof
summer-11,2025-06-03,,-1,
summer-12,2025-06-03,,,home
"""


def clipwise(home: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [CLIPWISE, *arguments],
        env=os.environ | {"CLIPWISE_HOME": str(home), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=180,
        cwd=ROOT,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("shop") / "shop"
    shutil.copytree(ROOT / "tests/example", folder)
    (folder / "coupon_terms.csv").write_text(TERMS)
    # What the other coupons are used for is redeemed in the example; here nobody did yet.
    rows = (folder / "redemptions.csv").read_text().splitlines(keepends=True)
    kept = [row for row in rows if ",summer-9," not in row and ",garden-" not in row]
    (folder / "redemptions.csv").write_text("".join(kept))
    clipwise(home, "ingest", "--source", "files", "--path", str(folder))
    clipwise(home, "materialize")
    return home


class Service:
    """The service in replay on a free port; stopped by its own id."""

    def __init__(self, home: Path):
        self.home = home

    def __enter__(self) -> "Service":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [CLIPWISE, "serve", "--replay", "--port", str(port)],
            env=os.environ | {"CLIPWISE_HOME": str(self.home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.url = f"http://127.0.0.1:{port}"
        for _ in range(300):
            assert self.process.poll() is None, "the service ended before it answered"
            try:
                urllib.request.urlopen(f"{self.url}/readyz", timeout=5).close()
                return self
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        raise AssertionError("the service did not answer within a minute")

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)

    def post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def ask(self, user: str, placement: str = "home", **more: object) -> dict:
        body = {"user_id": user, "placement": placement, "k": 20} | more
        return self.post("/v1/recommendations", body)

    def redeem(self, name: str, user: str, coupon: str, amount: int) -> dict:
        event = {
            "event_id": name,
            "event_type": "redemption",
            "user_id": user,
            "event_timestamp": "2025-06-30T21:00:00Z",
            "coupon_id": coupon,
            "discount_amount": amount,
        }
        return self.post("/v1/events", {"events": [event]})


def shown(answer: dict) -> set[str]:
    return {one["coupon_id"] for one in answer["recommendations"]}


def all_ask(service: Service) -> dict[str, set[str]]:
    """What every user is shown if all of them ask at once."""
    with ThreadPoolExecutor(12) as threads:
        answers = threads.map(service.ask, USERS)
        return {user: shown(answer) for user, answer in zip(USERS, answers, strict=True)}


def who_sees(service: Service, coupon: str) -> list[str]:
    return [user for user, coupons in all_ask(service).items() if coupon in coupons]


def test_units_and_budget_are_promised_once_used_up_and_kept_over_a_restart(home):
    with Service(home) as service:
        answers = all_ask(service)
        holders = [user for user, coupons in answers.items() if "summer-9" in coupons]
        assert len(holders) == 3, "three units for forty users who ask at once"
        spent = sum(COSTS.get(one, 0) for coupons in answers.values() for one in coupons)
        assert 250 < spent <= 300, "what garden has left pays for no other coupon"
        assert who_sees(service, "summer-9") == holders, "who asks again keeps their unit"
        others = [user for user in USERS if user not in holders]
        assert service.ask(others[0])["removed"]["usage_cap_total"] == 1
        receipt = service.redeem("till-1", holders[0], "summer-9", 80)
        assert receipt["accepted"] == 1
        assert "summer-9" not in shown(service.ask(holders[0])), "one use a user"
    with Service(home) as service:
        assert who_sees(service, "summer-9") == holders[1:]
        assert service.redeem("till-1", holders[0], "summer-9", 80)["duplicate"] == 1
        assert who_sees(service, "summer-9") == holders[1:]


def test_answer_says_what_each_coupon_does_to_the_cart_and_which_rule_removed_the_others(home):
    with Service(home) as service:
        at_home = {one["coupon_id"]: one for one in service.ask("card-001")["recommendations"]}
        quote = at_home["summer-12"]["quote"]
        assert (quote["type"], quote["value"]) == ("amount_off", 150)
        assert (quote["amount_off"], quote["missing_product"]) == (0, True)
        scope = (ROOT / "tests/example/coupon_products.csv").read_text().splitlines()
        product = next(row.split(",")[1] for row in scope if row.startswith("summer-12,"))
        cart = [{"product_id": product, "quantity": 2, "unit_price": 2.0}]
        answer = service.ask("card-001", "checkout", cart=cart)
        assert answer["removed"]["placement"] == 1
        assert answer["removed"]["min_margin"] == 1
        assert answer["removed"]["product_scope"] >= 1
        assert (
            answer["removed"]["audience"]
            + len(shown(answer))
            + sum(count for rule, count in answer["removed"].items() if rule != "audience")
            == 12
        )


def test_terms_that_contradict_themselves_stay_in_the_quarantine(home, tmp_path):
    (tmp_path / "coupon_terms.csv").write_text(WRONG)
    mapping = (ROOT / "tests/example/mapping.toml").read_text().split("[coupons]")[0]
    (tmp_path / "mapping.toml").write_text(mapping)
    source = ("ingest", "--source", "files", "--path", str(tmp_path))
    said = clipwise(home, *source, code=1)
    assert "period_limit and period_days must be stated together" in said
    clipwise(home, *source, "--max-failure-share", "1")
    said = clipwise(home, "quarantine", "--table", "coupon_terms")
    for reason in ("stated together", "but is home roof", "campaign_budget must be at least 0"):
        assert reason in " ".join(said.split()), said
