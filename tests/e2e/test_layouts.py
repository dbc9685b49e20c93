"""Public data sets in their own layouts, brought by a contract.sql up to recommendations."""

import pytest

from feature_repo.lake.duckdb_files import query
from feature_repo.lake.reader import Lake
from tests.support.places import LAYOUTS
from tests.support.processes import output


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Ingests a layout once; returns its state folder."""
    done = {}

    def ingested(layout: str):
        if layout not in done:
            done[layout] = home = tmp_path_factory.mktemp(layout) / "home"
            printed = output(home, "ingest", "--source", "sql", "--path", str(LAYOUTS / layout))
            assert "Held back" not in printed and "Warning" not in printed
            assert Lake(home).quarantine(Lake(home).state()) is None, printed
        return done[layout]

    return ingested


def known(home, table: str, columns: str) -> list[tuple]:
    """Rows of a table as of the watermark; values that are not summed group them."""
    lake = Lake(home)
    rows = lake.known_sql(table, lake.state())
    found = query(f"SELECT {columns} FROM ({rows}) GROUP BY ALL ORDER BY ALL").to_pylist()
    return [tuple(row.values()) for row in found]


def test_online_retail_counts_returns_and_ends_in_recommendations(shop):
    home = shop("online_retail_ii")
    spent = known(home, "events", "user_id, product_id, sum(amount)::BIGINT AS spent")
    assert spent == [
        ("19001", "90001A", 5560),
        ("19001", "90002", 1680),
        ("19002", "90001A", 0),
        ("19002", "POST", 1800),
    ]
    printed = output(home, "recommend", "--user", "19001")
    assert printed.index("frames") < printed.index("mugs"), "more was spent on frames"


def test_dunnhumby_reads_days_discounts_and_targeted_campaigns(shop):
    home = shop("dunnhumby")
    bought = known(
        home,
        "events",
        "event_id, quantity, amount, retail_discount, coupon_discount, coupon_match_discount, "
        "strftime(timezone('America/New_York', event_timestamp), '%d %H:%M') AS bought_at",
    )
    assert bought == [
        ("50000000001:800001", 1, 139, 60, 0, 0, "23 16:31"),
        ("50000000001:800002", 2, 378, 0, 100, 50, "23 16:31"),
        ("50000000002:6534178", 11842, 2499, 0, 0, 0, "31 00:40"),
        ("50000000003:800003", 0, 0, 159, 0, 0, "31 07:45"),
        ("50000000004:800001", 1, 139, 0, 0, 0, "03 23:59"),
    ]
    # Campaign 1 lasts until the end of day 30, and campaign 2 is day 10 alone.
    on_day_10 = "2004-04-01T12:00:00-05:00"
    printed = output(home, "recommend", "--user", "9001", "--as-of", on_day_10)
    assert "1:51800009050" in printed and "1:10000089061" not in printed, "redeemed on day 9"
    printed = output(home, "recommend", "--user", "9002", "--as-of", on_day_10)
    assert "2:10000089061" in printed and "1:10000089061" not in printed


def test_retailrocket_reads_clicks_once_and_ends_in_recommendations(shop):
    home = shop("retailrocket")
    clicks = known(home, "events", "event_type, count(*) AS rows, sum(quantity)::BIGINT AS units")
    assert clicks == [
        ("cart", 1, None),
        ("purchase", 2, 2),
        ("view", 1, None),
    ]
    products = known(home, "products", "product_id, department, category")
    assert products == [
        ("900001", "213", "1338"),
        ("900002", "213", "213"),
    ]
    assert "d213" in output(home, "recommend", "--user", "700001")


def test_x5_reads_compressed_files_and_ends_in_recommendations(shop):
    home = shop("x5_retailhero")
    spent = known(home, "events", "user_id, sum(quantity)::BIGINT, sum(amount)::BIGINT")
    assert spent == [
        ("00000a0001", 3, 14500),
        ("00000a0002", 0, 0),
    ]
    ages = known(home, "users", "user_id, age_min")
    assert [age for _, age in ages] == [45, None], "minus seven years is no age"
    assert "sms" in output(home, "recommend", "--user", "00000a0002")
    assert "sms" not in output(home, "recommend", "--user", "00000a0001"), "not treated"


def test_instacart_dates_orders_by_their_distance_and_ends_in_recommendations(shop):
    home = shop("instacart")
    orders = known(
        home,
        "events",
        "basket_id, strftime(timezone('America/New_York', event_timestamp), '%Y-%m-%d %H') AS at, "
        "count(*) AS lines",
    )
    assert orders == [
        ("5001", "2017-01-09 08", 2),
        ("5002", "2017-01-24 07", 1),
        ("5003", "2017-02-23 10", 2),
        ("5004", "2017-01-13 23", 1),
        ("5005", "2017-01-13 09", 2),
    ]
    printed = output(home, "recommend", "--user", "31")
    assert printed.index("d4") < printed.index("d16"), "fruit was bought in each order"
