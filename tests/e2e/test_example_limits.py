"""The example shop with few coupons left: what a shop sees of limits, budgets and quotes."""

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.processes import output, running

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


@contextmanager
def serving(home: Path, folder: Path) -> Iterator["Shop"]:
    """Runs the service on a home."""
    with running(home, folder / "log") as service:
        yield Shop(service.url)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("shop") / "shop"
    shutil.copytree(ROOT / "tests/example", folder)
    (folder / "coupon_terms.csv").write_text(TERMS)
    # In the example these coupons were redeemed; here none is yet.
    rows = (folder / "redemptions.csv").read_text().splitlines(keepends=True)
    kept = [row for row in rows if ",summer-9," not in row and ",garden-" not in row]
    (folder / "redemptions.csv").write_text("".join(kept))
    output(home, "ingest", "--source", "files", "--path", str(folder))
    output(home, "materialize")
    return home


class Shop:
    """A shop's calls of the running service."""

    def __init__(self, url: str):
        self.url = url

    def post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def recommend(self, user: str, placement: str = "home", **more: object) -> dict:
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


def all_answers(shop: Shop) -> dict[str, set[str]]:
    """The coupons shown to each user if all of them request at once."""
    with ThreadPoolExecutor(12) as threads:
        answers = threads.map(shop.recommend, USERS)
        return {user: shown(answer) for user, answer in zip(USERS, answers, strict=True)}


def users_shown(shop: Shop, coupon: str) -> list[str]:
    return [user for user, coupons in all_answers(shop).items() if coupon in coupons]


def test_units_and_budget_are_promised_once_used_up_and_kept_over_a_restart(home, tmp_path):
    with serving(home, tmp_path) as shop:
        answers = all_answers(shop)
        holders = [user for user, coupons in answers.items() if "summer-9" in coupons]
        assert len(holders) == 3, "three units for forty users at once"
        spent = sum(COSTS.get(one, 0) for coupons in answers.values() for one in coupons)
        assert 250 < spent <= 300, "the rest of the budget pays for no other coupon"
        assert users_shown(shop, "summer-9") == holders, "a user keeps the unit at the next request"
        others = [user for user in USERS if user not in holders]
        assert shop.recommend(others[0])["removed"]["usage_cap_total"] == 1
        receipt = shop.redeem("till-1", holders[0], "summer-9", 80)
        assert receipt["accepted"] == 1
        assert "summer-9" not in shown(shop.recommend(holders[0])), "one use a user"
    with serving(home, tmp_path) as shop:
        assert users_shown(shop, "summer-9") == holders[1:]
        assert shop.redeem("till-1", holders[0], "summer-9", 80)["duplicate"] == 1
        assert users_shown(shop, "summer-9") == holders[1:]


def test_answer_quotes_each_coupon_and_counts_the_removed_ones_by_rule(home, tmp_path):
    with serving(home, tmp_path) as shop:
        at_home = {one["coupon_id"]: one for one in shop.recommend("card-001")["recommendations"]}
        quote = at_home["summer-12"]["quote"]
        assert (quote["type"], quote["value"]) == ("amount_off", 150)
        assert (quote["amount_off"], quote["missing_product"]) == (0, True)
        scope = (ROOT / "tests/example/coupon_products.csv").read_text().splitlines()
        product = next(row.split(",")[1] for row in scope if row.startswith("summer-12,"))
        cart = [{"product_id": product, "quantity": 2, "unit_price": 2.0}]
        answer = shop.recommend("card-001", "checkout", cart=cart)
        assert answer["removed"]["placement"] == 1
        assert answer["removed"]["min_margin"] == 1
        assert answer["removed"]["product_scope"] >= 1
        assert (
            answer["removed"]["audience"]
            + len(shown(answer))
            + sum(count for rule, count in answer["removed"].items() if rule != "audience")
            == 12
        )


def test_contradictory_terms_stay_in_the_quarantine(home, tmp_path):
    (tmp_path / "coupon_terms.csv").write_text(WRONG)
    mapping = (ROOT / "tests/example/mapping.toml").read_text().split("[coupons]")[0]
    (tmp_path / "mapping.toml").write_text(mapping)
    source = ("ingest", "--source", "files", "--path", str(tmp_path))
    printed = output(home, *source, code=1)
    assert "period_limit and period_days must be stated together" in printed
    output(home, *source, "--max-failure-share", "1")
    printed = output(home, "quarantine", "--table", "coupon_terms")
    for reason in ("stated together", "but is home roof", "campaign_budget must be at least 0"):
        assert reason in " ".join(printed.split()), printed
