"""Stored features equal their descriptions, computed by an oracle from the raw rows."""

import math
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support import brute_force
from tests.support.brute_histories import Measured
from tests.support.brute_rows import Raw, last_midnight
from tests.support.feature_cases import hard_cases
from tests.support.feature_logs import (
    COUPONS,
    DAY,
    PRODUCTS,
    START,
    USERS,
    WATERMARK,
    arrow,
    change_instants,
    complete,
    complete_until,
    deliveries,
    feast_store,
    logs,
    moment,
    relanded,
    some_instants,
)

# The import of Feast gives warnings that we cannot fix.
pytestmark = pytest.mark.filterwarnings("default")

KEYS = {"user_id": USERS, "product_id": PRODUCTS, "coupon_id": COUPONS}
LISTS = ("ids", "counts", "decayed_90d", "last_timestamps", "coupon_counts", "amounts")
RANDOM = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return feast_store(tmp_path_factory.mktemp("home"))


def rows_of(store, key: str, ids, instants) -> list[dict]:
    """Reads the stored features of all ids at all instants, as plain values with int instants."""
    pairs = [(one, t) for t in instants for one in ids]
    entities = pd.DataFrame(
        {key: [one for one, _t in pairs], "event_timestamp": [moment(t) for _one, t in pairs]}
    )
    views = [name for name, (of, *_rest) in brute_force.VIEWS.items() if of == key]
    refs = [f"{v}:{f.name}" for v in views for f in store.get_feature_view(v).features]
    found = store.get_historical_features(entities, refs, full_feature_names=True).to_arrow()
    return [row | {"t": t} for row, (_one, t) in zip(found.to_pylist(), pairs, strict=True)]


def check_views(store, log: dict, instants) -> None:
    """Compares all fields of all views and entities at these instants with the oracle."""
    raw = Raw(log)
    found = {key: rows_of(store, key, ids, instants) for key, ids in KEYS.items()}
    for view, (key, definition) in brute_force.VIEWS.items():
        names = [field.name for field in store.get_feature_view(view).features]
        for row in found[key]:
            context = f"{view} of {row[key]} at {row['t']}"
            stored = {name: row[f"{view}__{name}"] for name in names}
            check_view(stored, definition(raw, row[key], row["t"]), row["t"], context)


def check_view(found: dict, expected: dict | None, t: int, context: str) -> None:
    if expected is None:
        assert set(found.values()) == {None}, f"{context}: expected no row, got {found}"
        return
    reference = next((found.pop(n) for n in list(found) if "reference" in n), None)
    assert reference is None or reference < t, f"{context} is decayed to {reference}"
    part = context.split("_")[1]
    for name, value in expected.items():
        where = f"{name} in {context}"
        if f"{name}_ids" in found and callable(value):
            columns = [found.pop(f"{name}_{field}") for field in LISTS]
            check_entries(columns, value(t if reference is None else reference), where)
            assert part != "purchase" or reference is None or reference % DAY == 0, where
            assert part != "recent" or not columns[0] or reference >= last_midnight(t), where
        else:
            check_value(found.pop(name), value(reference) if callable(value) else value, where)
    assert not found, f"{context} has fields without a definition: {found}"


def check_value(found, expected, where: str) -> None:
    if isinstance(expected, Measured):
        limit = 1e-9 * expected.scale
        assert math.isclose(found, expected.value, rel_tol=1e-9, abs_tol=limit), where
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-9), where
    else:
        assert found == expected, f"{where}: expected {expected}, got {found}"


def check_entries(columns: list, wanted: dict, where: str) -> None:
    if not wanted:
        assert columns == [None] * 6, f"{where}: expected none, got {columns}"
        return
    ids, counts, weights, lasts, uses, amounts = columns
    assert sorted(ids or []) == sorted(wanted), f"{where}: expected {wanted}, got {columns}"
    for one, two in pairwise(zip(weights, ids, strict=True)):
        tied = math.isclose(one[0], two[0], rel_tol=1e-14)
        assert one[1] < two[1] if tied else one[0] > two[0], f"{where} is not in order: {columns}"
    for one, weight, *exact in zip(ids, weights, counts, lasts, uses, amounts, strict=True):
        total, decayed, *others = wanted[one]
        assert exact == [total, *others], f"{where} {one}: expected {wanted[one]}, got {exact}"
        check_value(weight, decayed, f"{where} {one}")


def test_hard_cases_equal_their_descriptions_at_all_change_instants(store):
    log = complete(hard_cases())
    relanded(store, log, watermark=complete_until(log))
    check_views(store, log, change_instants(log))


@settings(RANDOM, max_examples=5)
@given(log=logs(), data=st.data())
def test_stored_features_equal_their_descriptions_at_any_instant(store, log, data):
    # After the watermark the lake has no new rows, but windows end and plans take effect.
    watermark = data.draw(st.sampled_from((complete_until(log), WATERMARK)))
    relanded(store, *data.draw(deliveries(log)), watermark=watermark)
    check_views(store, log, data.draw(some_instants(log, 60)))


@settings(RANDOM, max_examples=1)
@given(log=logs(events=20), data=st.data())
def test_features_of_ingested_files_equal_their_descriptions(store, tmp_path_factory, log, data):
    home = relanded(store)
    parents = ("users", "products", "coupons")
    first = {name: log[name] if name in parents else [] for name in log}
    rest = {name: [] if name in parents else log[name] for name in log}
    for batch in (first, *data.draw(deliveries(rest, most=2))):
        ingest(home, tmp_path_factory.mktemp("files"), batch)
    check_views(store, log, data.draw(some_instants(log, 30)))


def ingest(home: Path, folder: Path, log: dict) -> None:
    """Ingests a log in the same way as ``clipwise ingest --source files``."""
    from pyarrow import csv

    from feature_repo.lake.reader import Lake
    from feature_repo.sources.files import source as files
    from validation.ingestion import ingest_batch

    tables = {name: arrow(name, rows) for name, rows in log.items() if rows}
    for name, rows in tables.items():
        csv.write_csv(rows, folder / f"{name}.csv")
    if tables:
        at = moment(WATERMARK)
        done = ingest_batch(Lake(home), files.read(folder), at, complete_until=at)
        assert not done.checked.quarantined.num_rows, done.checked.quarantined.to_pylist()


def test_history_keeps_the_1024_heaviest_products_and_ties_by_id(store):
    names = [f"p{number:04d}" for number in range(1_032)]
    events = [_purchase(name, START + DAY) for name in reversed(names[:1_030])]
    # A microsecond is enough to be heavier.
    events += [_purchase("p1030", START + DAY + 1), _purchase("p1031", START + 2 * DAY)]
    log = {
        "users": [{"user_id": "u1"} | _at(START)],
        "products": [{"product_id": name} | _at(START) for name in names],
        "events": events,
    }
    relanded(store, log)
    row = _user(store, START + 4 * DAY)
    found = row["user_purchase_history__history_product_ids"]
    assert found == ["p1031", "p1030", *names[:1_022]]


def _user(store, t: int) -> dict:
    return rows_of(store, "user_id", ["u1"], [t])[0]


def _purchase(product: str, at: int) -> dict:
    event = {"event_id": f"{product}-{at}", "user_id": "u1", "event_type": "purchase"}
    return event | {"product_id": product, "quantity": 1, "amount": 100} | _at(at)


def _at(at: int) -> dict:
    return {"event_timestamp": at, "created_timestamp": at}
