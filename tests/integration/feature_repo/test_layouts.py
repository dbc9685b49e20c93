"""The SQL of the layouts in tests/layouts, on rows made for the test."""

import random
import shutil
from collections import deque
from datetime import datetime, timedelta

from feature_repo.sources.sql.source import read
from tests.support.places import LAYOUTS

START = datetime(2010, 1, 4, 9)
HEADER = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n"


def moves(seed: int) -> list[tuple]:
    """Sales and returns in the order of time: line, is a sale, customer, product, units, hours."""
    chance = random.Random(seed)
    hours = sorted(chance.randrange(0, 300) for _ in range(2_000))
    return [
        (
            line,
            chance.random() < 0.6,
            f"{chance.randrange(40)}.0",
            chance.choice(["A", "B"]),
            chance.randrange(1, 9),
            START + timedelta(hours=hour),
        )
        for line, hour in enumerate(hours, 1)
    ]


def what_is_left(rows: list[tuple]) -> dict[str, int]:
    """Units of each sale that are left if those bought first come back first."""
    left, open_sales = {}, {}
    for line, is_sale, user, product, units, _ in sorted(rows, key=lambda row: (row[5], row[1])):
        queue = open_sales.setdefault((user, product), deque())
        if is_sale:
            left[f"{line}-{line}"] = units
            queue.append(f"{line}-{line}")
        while not is_sale and units and queue:
            taken = min(units, left[queue[0]])
            left[queue[0]] -= taken
            units -= taken
            if not left[queue[0]]:
                queue.popleft()
    return left


def test_returns_take_back_the_units_that_were_bought_first(tmp_path):
    shutil.copy(LAYOUTS / "online_retail_ii" / "contract.sql", tmp_path)
    rows = moves(seed=15)
    lines = (
        f"{'' if is_sale else 'C'}{line},{product},,{units if is_sale else -units},{at},2.5,{user},"
        for line, is_sale, user, product, units, at in rows
    )
    (tmp_path / "online_retail_II.csv").write_text(HEADER + "\n".join(lines) + "\n")
    batch = read(tmp_path)
    assert batch.rejected["events"].num_rows == 0
    newest = {}
    for event in sorted(batch.tables["events"].to_pylist(), key=lambda e: e["created_timestamp"]):
        if event["event_id"] in newest:
            before = newest[event["event_id"]]
            assert event["created_timestamp"] > before["created_timestamp"]
            assert event["quantity"] < before["quantity"]
        newest[event["event_id"]] = event
    assert {name: event["quantity"] for name, event in newest.items()} == what_is_left(rows)
    assert all(event["amount"] == 250 * event["quantity"] for event in newest.values())
