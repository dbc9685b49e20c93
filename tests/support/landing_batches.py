"""Small batches in the contract for the tests of the lake, and a function that lands them."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from feature_repo.contract import TABLES, arrow_schema
from feature_repo.lake import landing
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State

START = datetime(2025, 1, 30, 12, tzinfo=UTC)
FINISH = START + timedelta(days=100)
QUARANTINE_COLUMNS = ("quarantine_id", "table", "row_id", "rule", "reason", "payload")


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def rows(name: str, *dicts: dict) -> pa.Table:
    """Builds an Arrow table of the contract; missing values are null, missing times are day 0."""
    table = TABLES[name]
    full = []
    for one in dicts:
        at = one.get("event_timestamp", day(0))
        times = {"event_timestamp": at, "created_timestamp": one.get("created_timestamp", at)}
        full.append(dict.fromkeys(table.column_names) | one | times)
    schema = arrow_schema(table)
    columns = [pa.array([one[field.name] for one in full], field.type) for field in schema]
    return pa.table(columns, schema=schema)


def user(user_id: str = "u1", age: int = 30, created: int = 0, happened: int = 0) -> dict:
    return {
        "user_id": user_id,
        "age_min": age,
        "event_timestamp": day(happened),
        "created_timestamp": day(created),
    }


def purchase(event_id: str, number: int = 0, amount: int = 350) -> dict:
    return {
        "event_id": event_id,
        "event_timestamp": day(number),
        "user_id": "u1",
        "event_type": "purchase",
        "product_id": "p1",
        "quantity": 1,
        "amount": amount,
    }


def coupon(coupon_id: str) -> dict:
    return {
        "coupon_id": coupon_id,
        "coupon_code": "x",
        "campaign_id": "k",
        "audience": "open",
        "event_timestamp": day(0),
        "valid_from": day(1),
        "valid_to": day(30),
    }


def whole_batch(number: int = 1) -> dict:
    """Returns a batch with new rows in every table."""
    n, at = number, {"event_timestamp": day(0)}
    return {
        "users": rows("users", user(f"u{n}")),
        "products": rows("products", {"product_id": f"p{n}", "name": "Milk, 1 l"} | at),
        "coupons": rows("coupons", coupon(f"c{n}")),
        "coupon_products": rows("coupon_products", {"coupon_id": f"c{n}", "product_id": f"p{n}"}),
        "coupon_terms": rows("coupon_terms", {"coupon_id": f"c{n}", "total_limit": 5} | at),
        "product_terms": rows("product_terms", {"product_id": f"p{n}", "stock": 7} | at),
        "exposures": rows(
            "exposures", {"exposure_id": f"x{n}", "user_id": f"u{n}", "campaign_id": "k"}
        ),
        "events": rows("events", *(purchase(f"e{n}-{i}", 20 * i) for i in range(4))),
        "redemptions": rows(
            "redemptions", {"redemption_id": f"r{n}", "user_id": f"u{n}", "coupon_id": f"c{n}"}
        ),
    }


def small_batch(number: int = 1) -> dict:
    """Returns a batch with new rows in three tables."""
    batch = whole_batch(number)
    return {name: batch[name] for name in ("users", "events", "redemptions")}


def quarantined(*ids: str):
    columns = {column: [f"{column} {one}" for one in ids] for column in QUARANTINE_COLUMNS}
    columns["quarantine_id"] = list(ids)
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def land(
    lake: Lake,
    tables: dict,
    held=None,
    released: Iterable[str] = (),
    watermark: datetime = FINISH,
    learned: dict | None = None,
) -> tuple[State, dict[str, landing.ClassifiedRows]]:
    """Lands a batch; returns the state after it, and the classified rows of each table."""
    with landing.write_lock(lake):
        state = landing.current_state(lake)
        classified = {
            name: landing.classify_rows(lake, state, name, t) for name, t in tables.items()
        }
        batch = landing.Landing(
            "test",
            watermark,
            {name: one.new for name, one in classified.items()},
            quarantined() if held is None else held,
            set(released),
            learned or {},
        )
        following = landing.commit(lake, state, batch)
    return following, classified


def content(lake: Lake, state: State) -> dict[str, list]:
    """Returns the rows of a state by table, as sorted texts."""
    found = {name: lake.read(name, state).to_pylist() for name in TABLES}
    held = lake.quarantine(state)
    found["quarantine"] = [] if held is None else held.to_pylist()
    return {name: sorted(map(repr, values)) for name, values in found.items()}


def hashes(state: State) -> dict[str, tuple[int, str]]:
    return {name: (one.rows, one.content_hash) for name, one in state.tables.items()}
