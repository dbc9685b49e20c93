"""Every stored feature equals its description, computed again from the raw rows."""

import math
import shutil
from pathlib import Path

import brute_force
import pandas as pd
import pytest
from feature_logs import (
    COUPONS,
    DAY,
    PRODUCTS,
    START,
    USERS,
    WATERMARK,
    feast_store,
    land,
    logs,
    moment,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

KEYS = {"user_id": USERS, "product_id": PRODUCTS, "coupon_id": COUPONS}
LISTS = ("ids", "counts", "decayed_90d", "last_timestamps", "coupon_counts")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return feast_store(tmp_path_factory.mktemp("home"))


def relanded(store, log: dict) -> None:
    """Make ``log`` all that the store's lake holds."""
    home = Path(store.config.offline_store.home)
    for folder in ("lake", "features"):
        shutil.rmtree(home / folder, ignore_errors=True)
    land(home, log)


def rows_of(store, key: str, ids, instants) -> list[dict]:
    """The stored features of every id at every instant, as plain values with int instants."""
    pairs = [(one, t) for t in instants for one in ids]
    entities = pd.DataFrame(
        {key: [one for one, _t in pairs], "event_timestamp": [moment(t) for _one, t in pairs]}
    )
    views = [name for name, (of, *_rest) in brute_force.VIEWS.items() if of == key]
    refs = [f"{v}:{f.name}" for v in views for f in store.get_feature_view(v).features]
    found = store.get_historical_features(entities, refs).to_arrow().to_pylist()
    return [row | {"t": t} for row, (_one, t) in zip(found, pairs, strict=True)]


def check_view(log: dict, view: str, row: dict) -> None:
    key, table, definition = brute_force.VIEWS[view]
    expected = definition(log, row[key], row["t"])
    found = {name: row[name] for name in row if name in expected}
    lists = [name for name in expected if f"{name}_ids" in row]
    present = any(row[f"{n}_ids"] for n in lists) or any(v is not None for v in found.values())
    if not present and not lists:
        assert not brute_force.has(log[table], row["t"], **{key: row[key]}) or view.endswith(
            ("details", "demographics")
        ), f"{view} of {row[key]} has no row at {row['t']}"
    for name, value in expected.items():
        context = f"{view}.{name} of {row[key]} at {row['t']}"
        if name in lists:
            check_lists(name, value, row, context)
        else:
            value = value(row) if callable(value) and present else value
            check_value(value, row[name], present, context)


def check_value(expected, found, present: bool, context: str) -> None:
    if not present:
        assert callable(expected) or expected in (None, 0), context
    elif isinstance(expected, brute_force.Measured):
        limit = 1e-9 * expected.scale
        assert math.isclose(found, expected.value, rel_tol=1e-9, abs_tol=limit), context
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-9), context
    else:
        assert found == expected, f"{context}: expected {expected}, got {found}"


def check_lists(name: str, expected, row: dict, context: str) -> None:
    reference = row[f"{name.split('_')[0]}_reference_timestamp"]
    wanted = expected({f"{name.split('_')[0]}_reference_timestamp": reference or row["t"]})
    columns = [row[f"{name}_{field}"] for field in LISTS]
    if not wanted:
        assert columns == [None] * 5, context
        return
    ids, counts, weights, lasts, uses = columns
    assert sorted(ids) == sorted(wanted), f"{context}: expected {wanted}, got {columns}"
    assert sorted(weights, reverse=True) == weights, context
    for one, count, weight, last, used in zip(ids, counts, weights, lasts, uses, strict=True):
        total, decayed, latest, redeemed = wanted[one]
        assert (count, last, used) == (total, latest, redeemed), (
            f"{context} {one}: expected {wanted[one]}, got {(count, last, used)}"
        )
        check_value(decayed, weight, True, f"{context} {one}")


def telling_instants(log: dict) -> list[int]:
    """Instants at which something may change, a microsecond later, and midnights."""
    seen = set()
    for rows in log.values():
        for row in rows:
            for at in (row["event_timestamp"], row["created_timestamp"]):
                ends = [at + days * DAY for days in (0, *brute_force.WINDOWS)]
                midnights = [end - end % DAY + DAY for end in ends]
                seen.update(ends + [end + 1 for end in ends])
                seen.update(midnights + [one + 1 for one in midnights])
    return sorted(t for t in seen if t <= WATERMARK)


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(log=logs(), data=st.data())
def test_stored_features_equal_their_descriptions_at_any_instant(store, log, data):
    relanded(store, log)
    instants = telling_instants(log)
    random = data.draw(st.randoms(use_true_random=False))
    instants = random.sample(instants, min(30, len(instants)))
    for key, ids in KEYS.items():
        for row in rows_of(store, key, ids, instants):
            for view, (of, *_rest) in brute_force.VIEWS.items():
                if of == key:
                    check_view(log, view, row)


def test_a_history_keeps_the_512_heaviest_products_and_ties_by_id(store):
    names = [f"p{number:03d}" for number in range(520)]
    log = {
        "users": [{"user_id": "u1"} | _at(START)],
        "products": [{"product_id": name} | _at(START) for name in names],
        "events": [_purchase(name, START + DAY) for name in names]
        + [_purchase("p519", START + 2 * DAY)],
    }
    relanded(store, log)
    [row] = rows_of(store, "user_id", ["u1"], [START + 4 * DAY])
    assert row["history_product_ids"] == ["p519", *names[:511]]


def _purchase(product: str, at: int) -> dict:
    event = {"event_id": f"{product}-{at}", "user_id": "u1", "event_type": "purchase"}
    return event | {"product_id": product, "quantity": 1, "amount": 100} | _at(at)


def _at(at: int) -> dict:
    return {"event_timestamp": at, "created_timestamp": at}
