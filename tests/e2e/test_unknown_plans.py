"""The example shop with a scope row that is refused, and a coupon that is planned for a noon."""

import shutil
from datetime import datetime

import pytest

from serving.schemas.recommendation import CartItem
from tests.support.places import ROOT
from tests.support.processes import clipwise, output, running

# NOON50 was announced on 20 June. Its scope and its terms take effect when it begins to be valid.
COUPONS = """free,2025-06-02,FREE,free,open,percent,100,,2025-06-09,2025-07-14,
noon,2025-06-20,NOON50,noon,open,percent,50,,2025-07-01 12:00,2025-08-01,
"""
SCOPES = """free,l001,2025-06-02,
noon,1003,2025-07-01 12:00,2025-06-20
"""
TERMS = """coupon_id,event_timestamp,created_timestamp,total_limit,max_discount,placements
noon,2025-07-01 12:00,2025-06-20,1,5.00,checkout
summer-9,2025-06-02,,0,,
"""
CART = [
    CartItem(product_id="1001", quantity=1, unit_price=80.0),
    CartItem(product_id="1003", quantity=1, unit_price=20.0),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A running service, and what the commands before it printed."""
    home, base = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("shop")
    folder = base / "shop"
    shutil.copytree(ROOT / "tests/example", folder)
    with (folder / "coupons.csv").open("a") as file:
        file.write(COUPONS)
    header, *pairs = (folder / "coupon_products.csv").read_text().splitlines()
    rows = "\n".join([f"{header},created_timestamp", *(f"{pair}," for pair in pairs)])
    (folder / "coupon_products.csv").write_text(f"{rows}\n{SCOPES}")
    (folder / "coupon_terms.csv").write_text(TERMS)
    more = ("--max-failure-share", "0.05")
    printed = output(home, "ingest", "--source", "files", "--path", str(folder), *more)
    clipwise(home, "materialize")
    printed += output(home, "quarantine")
    with running(home, base / "log") as service, service.client(deadline=60, attempt=30) as client:
        yield client, printed


def offers(client, user: str, placement: str, as_of: str | None = None) -> tuple[dict, dict]:
    """Returns the quotes of the shown coupons, and the counts of the removed ones."""
    instant = None if as_of is None else datetime.fromisoformat(as_of)
    answer = client.recommend(user, placement, 50, CART, as_of=instant)
    return {one.coupon_id: one.quote for one in answer.recommendations}, answer.removed


def test_coupon_whose_one_scope_row_is_refused_is_not_shown(shop):
    client, printed = shop
    for placement in ("checkout", "home"):
        shown, removed = offers(client, "card-001", placement)
        assert "free" not in shown and removed["scope_unknown"] == 1
    assert "free (scope_unknown)" in printed
    assert "It holds back the coupon free (scope_unknown)." in printed


def test_limit_of_0_allows_nothing_and_is_named_at_ingest(shop):
    client, printed = shop
    shown, removed = offers(client, "card-001", "home")
    assert "summer-9" not in shown and removed["usage_cap_total"] == 1
    assert "total_limit is 0 in 1 row (summer-9)" in " ".join(printed.split())


BEFORE, NOON = "2025-07-01T09:59:59.999999+00:00", "2025-07-01T10:00:00+00:00"


def test_plan_is_in_force_at_its_noon_with_its_scope_and_its_terms(shop):
    client, _ = shop
    shown, removed = offers(client, "card-001", "checkout", BEFORE)
    assert "noon" not in shown and removed["not_yet_valid"] == 1
    shown, _ = offers(client, "card-001", "checkout", NOON)
    quote = shown["noon"]
    assert (quote.covered_amount, quote.amount_off, quote.applies_to) == (2_000, 500, ("1003",))
    shown, removed = offers(client, "card-002", "checkout", NOON)
    assert "noon" not in shown and removed["usage_cap_total"] == 1
    shown, removed = offers(client, "card-003", "home", NOON)
    assert "noon" not in shown and removed["placement"] == 1
    # The clock of the replay still stands before that noon.
    shown, removed = offers(client, "card-001", "checkout")
    assert "noon" not in shown and removed["not_yet_valid"] == 1
