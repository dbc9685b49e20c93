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


def known(home, table: str, columns: str) -> list[dict]:
    """Rows of a table as of the watermark; values that are not summed group them."""
    lake = Lake(home)
    rows = lake.known_sql(table, lake.state())
    return query(f"SELECT {columns} FROM ({rows}) GROUP BY ALL ORDER BY ALL").to_pylist()


def test_online_retail_counts_returns_and_ends_in_recommendations(shop):
    home = shop("online_retail_ii")
    spent = known(home, "events", "user_id, product_id, sum(amount)::BIGINT AS spent")
    assert [tuple(one.values()) for one in spent] == [
        ("19001", "90001A", 5560),
        ("19001", "90002", 1680),
        ("19002", "90001A", 0),
        ("19002", "POST", 1800),
    ]
    printed = output(home, "recommend", "--user", "19001")
    assert printed.index("frames") < printed.index("mugs"), "more was spent on frames"
