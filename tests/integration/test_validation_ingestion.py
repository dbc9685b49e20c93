"""A batch as a whole: what it makes of the lake's watermark."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from feature_repo.contract import TABLES, arrow_schema
from feature_repo.lake import Lake, LakeError
from feature_repo.sources import Batch, numbered
from validation.ingestion import discard, ingest_batch

NOW = datetime(2025, 6, 1, tzinfo=UTC)
LEARNED = datetime(2025, 5, 1, tzinfo=UTC)


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


def test_batch_of_which_nothing_passes_leaves_the_watermark(lake):
    before = ingest_batch(lake, users(), NOW).state.watermark
    late = users(user_id="bob", created_timestamp=NOW + timedelta(days=1))
    after = ingest_batch(lake, late, NOW, maximum_share=1.0)
    assert after.counts["users"].quarantined == 1
    assert after.state.watermark == before


def test_discarded_row_leaves_the_quarantine_for_good(lake):
    ingest_batch(lake, users(), NOW)
    bad = users(user_id=None)
    ingest_batch(lake, bad, NOW, maximum_share=1.0)
    (row,) = lake.quarantine(lake.state()).to_pylist()
    with pytest.raises(LakeError, match="'zz' fits 0"):
        discard(lake, "zz")
    discard(lake, row["quarantine_id"][:8])
    assert lake.quarantine(lake.state()) is None
    assert lake.known("users", lake.state()).num_rows == 1


def test_stated_end_becomes_the_watermark(lake):
    assert ingest_batch(lake, users(), NOW, complete_until=NOW).state.watermark == NOW
