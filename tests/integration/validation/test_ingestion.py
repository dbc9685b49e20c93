"""Ingest of whole batches: the watermark, the quarantine and waiting rows."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from feature_repo.contract import TABLES, arrow_schema
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import LakeError
from feature_repo.sources import Batch, numbered
from tests.support.landing_batches import hashes
from tests.support.validation_batches import batch, good_rows
from validation.ingestion import discard, ingest_batch

NOW = datetime(2025, 6, 1, tzinfo=UTC)
LEARNED = datetime(2025, 5, 1, tzinfo=UTC)
AT = datetime(2025, 4, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def users(**columns) -> Batch:
    row = dict.fromkeys(TABLES["users"].column_names) | {
        "user_id": "ada",
        "event_timestamp": LEARNED,
        "created_timestamp": LEARNED,
    }
    rows = pa.Table.from_pylist([row | columns], arrow_schema(TABLES["users"]))
    return Batch("test", {"users": numbered(rows)}, learned={"users": "stated"})


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


def test_watermark_lies_just_after_the_latest_row(lake):
    assert ingest_batch(lake, users(), NOW).state.watermark == LEARNED + timedelta(microseconds=1)


def test_plan_that_takes_effect_later_does_not_move_the_watermark(lake):
    batch = users(event_timestamp=datetime(2099, 1, 1, tzinfo=UTC))
    assert ingest_batch(lake, batch, NOW).state.watermark == LEARNED + timedelta(microseconds=1)


def test_batch_without_passing_rows_does_not_move_the_watermark(lake):
    before = ingest_batch(lake, users(), NOW).state.watermark
    late = users(user_id="bob", created_timestamp=NOW + timedelta(days=1))
    after = ingest_batch(lake, late, NOW, maximum_share=1.0)
    assert after.counts["users"].quarantined == 1
    assert after.state.watermark == before


def test_discarded_row_leaves_the_quarantine(lake):
    ingest_batch(lake, users(), NOW)
    bad = users(user_id=None)
    ingest_batch(lake, bad, NOW, maximum_share=1.0)
    (row,) = lake.quarantine(lake.state()).to_pylist()
    with pytest.raises(LakeError, match="'zz' fits 0"):
        discard(lake, "zz")
    discard(lake, row["quarantine_id"][:8])
    assert lake.quarantine(lake.state()) is None
    assert lake.known("users", lake.state()).num_rows == 1


def purchases(*versions: dict, **tables) -> Batch:
    full = good_rows(1)
    rows = [full["events"][0] | version for version in versions]
    parts = {name: full[name] for name in tables.get("along", ())}
    return Batch("test", batch(parts | {"events": rows}))


def test_waiting_version_lands_together_with_its_correction_and_its_parent(lake):
    ingest_batch(lake, purchases({}, along=["users"]), NOW, maximum_share=1.0)
    correction = {"amount": 7, "created_timestamp": LEARNED}
    after = ingest_batch(lake, purchases(correction, along=["users", "products"]), NOW)
    landed = lake.read("events", after.state).sort_by("created_timestamp")
    assert landed["amount"].to_pylist() == [100, 7]
    assert lake.quarantine(after.state) is None


def test_waiting_version_stays_when_only_its_correction_can_land(lake):
    ingest_batch(lake, purchases({}, along=["users"]), NOW, maximum_share=1.0)
    correction = {"product_id": "p1", "created_timestamp": LEARNED}
    known = batch({"products": [good_rows(2)["products"][1]]})
    ingest_batch(lake, Batch("test", known), NOW)
    after = ingest_batch(lake, purchases(correction), NOW)
    assert after.counts["events"].landed == 1
    assert [row["rule"] for row in lake.quarantine(after.state).to_pylist()] == ["unknown_parent"]


def test_given_end_becomes_the_watermark(lake):
    assert ingest_batch(lake, users(), NOW, complete_until=NOW).state.watermark == NOW


def terms(**columns) -> Batch:
    row = good_rows(1)["coupon_terms"][0]
    return Batch("test", batch({"coupon_terms": [row | columns]}))


PLAN = {name: good_rows(1)[name] for name in ("products", "coupons")}


@pytest.mark.parametrize(("learned", "left"), [(AT - HOUR, 1), (AT, 0), (AT + HOUR, 0)])
def test_refused_row_is_replaced_only_by_one_that_was_not_learned_before_it(lake, learned, left):
    ingest_batch(lake, Batch("test", batch(PLAN)), NOW)
    ingest_batch(lake, terms(period_limit=-1, created_timestamp=AT), NOW, maximum_share=1.0)
    after = ingest_batch(lake, terms(created_timestamp=learned), NOW)
    held = lake.quarantine(after.state)
    assert (0 if held is None else held.num_rows) == left


ROWS = good_rows(1)
VERSIONS = [
    (name, row | {"created_timestamp": row["created_timestamp"] + n * HOUR} | changed)
    for name, changed in (
        ("products", {"name": "Tea"}),
        ("coupons", {"min_spend": 5}),
        ("coupon_terms", {"period_limit": 3}),
    )
    for row in ROWS[name]
    for n, changed in enumerate(({}, changed, {}))
]


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(order=st.permutations(VERSIONS), size=st.integers(1, len(VERSIONS) - 1), broken=st.data())
def test_any_split_and_order_with_repairs_and_waiting_rows_gives_one_lake(
    tmp_path_factory, order, size, broken
):
    """Some terms come broken before they are repaired, and some before their coupon."""
    whole = Lake(tmp_path_factory.mktemp("whole"))
    expected = ingest_batch(whole, Batch("test", batch(grouped(VERSIONS))), NOW).state
    split = Lake(tmp_path_factory.mktemp("split"))
    terms = [(name, row | {"period_limit": -1}) for name, row in VERSIONS if name == "coupon_terms"]
    first = broken.draw(st.lists(st.sampled_from(terms), min_size=1, unique_by=repr))
    for part in (first, order[:size], order[size:]):
        ingest_batch(split, Batch("test", batch(grouped(part))), NOW, maximum_share=1.0)
    state = split.state()
    assert {n: t for n, t in hashes(state).items() if n != "quarantine"} == hashes(expected)
    assert split.quarantine(state) is None
    assert state.watermark == expected.watermark


def grouped(rows) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for name, row in rows:
        found.setdefault(name, []).append(row)
    return found
