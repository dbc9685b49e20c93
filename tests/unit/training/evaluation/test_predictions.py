"""The table of predictions: complete, and the same whether it is written at once or in blocks."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.ranking_frames import numbered, ranking_frame
from training.data.frame import RankingFrame, take
from training.evaluation.predictions import PredictionsFile, predictions_table, scores_of

GROUPS, SIZE = 12, 5
MAY, JUNE = 1_493_596_800_000_000, 1_496_275_200_000_000


def frame() -> RankingFrame:
    rng = np.random.default_rng(0)
    label = (rng.random(GROUPS * SIZE) < 0.2).astype(np.int8)
    return ranking_frame(
        numbered("q", GROUPS, SIZE),
        label,
        later=np.maximum(label, rng.random(GROUPS * SIZE) < 0.2),
        as_of=np.repeat(MAY + np.arange(GROUPS), SIZE),
        campaign_id=numbered("c", GROUPS, SIZE, shared_by=3),
    )


FRAME = frame()
SCORES = {"ranker": np.arange(60.0), "spend_percov": np.arange(60.0)[::-1]}


def test_table_has_a_row_for_each_model_and_pair_with_both_labels():
    table = predictions_table("checkout", FRAME, SCORES)
    assert table.column_names == [
        "ranker", "qid", "user_id", "campaign_id", "coupon_id", "as_of", "model", "score",
        "label", "later",
    ]  # fmt: skip
    rows = table.to_pylist()
    assert len(rows) == 2 * len(FRAME)
    assert rows[67] == {
        "ranker": "checkout",
        "qid": "q1",
        "user_id": "q1",
        "campaign_id": "c0",
        "coupon_id": "k2",
        "as_of": datetime(2017, 5, 1, microsecond=1, tzinfo=UTC),
        "model": "spend_percov",
        "score": 52.0,
        "label": int(FRAME.label[7]),
        "later": int(FRAME.later[7]),
    }


def test_scores_are_read_only_from_a_table_of_the_same_pairs():
    found = scores_of(predictions_table("home", FRAME, SCORES), FRAME)
    assert set(found) == set(SCORES)
    np.testing.assert_array_equal(found["spend_percov"], SCORES["spend_percov"])
    other = replace(FRAME, coupon_id=FRAME.coupon_id[::-1])
    assert scores_of(predictions_table("home", FRAME, SCORES), other) == {}


def blocks():
    for start in range(0, len(FRAME), 2 * SIZE):
        rows = np.arange(start, start + 2 * SIZE)
        yield take(FRAME, rows), {name: values[rows] for name, values in SCORES.items()}


@pytest.mark.parametrize("rows_at_once", [1, 50, 10_000])
def test_file_written_in_blocks_has_the_rows_of_the_whole_table(tmp_path, rows_at_once):
    file = tmp_path / "predictions.parquet"
    with PredictionsFile(file, rows_at_once) as out:
        for block, scores in blocks():
            out.write("home", block, scores, {"ranker": JUNE, "spend_percov": MAY})
    found = pq.read_table(file)
    keys = [("model", "ascending"), ("as_of", "ascending"), ("coupon_id", "ascending")]
    expected = predictions_table("home", FRAME, SCORES).sort_by(keys)
    assert found.drop_columns(["fold"]).sort_by(keys) == expected
    folds = set(zip(found["model"].to_pylist(), found["fold"].to_pylist(), strict=True))
    starts = (datetime(2017, 6, 1, tzinfo=UTC), datetime(2017, 5, 1, tzinfo=UTC))
    assert folds == set(zip(SCORES, starts, strict=True))
    assert pq.ParquetFile(file).num_row_groups == {1: 6, 50: 2, 10_000: 1}[rows_at_once]


def test_file_of_an_earlier_run_stays_when_a_block_fails(tmp_path):
    file = tmp_path / "predictions.parquet"
    file.write_text("an earlier run")
    with pytest.raises(KeyError), PredictionsFile(file, rows_at_once=1) as out:
        out.write("home", FRAME, SCORES, {"ranker": MAY, "spend_percov": MAY})
        out.write("home", FRAME, SCORES, {"ranker": MAY})
    assert [one.name for one in tmp_path.iterdir()] == [file.name]
    assert file.read_text() == "an earlier run"


def test_run_without_rows_leaves_no_file_of_an_earlier_run(tmp_path):
    file = tmp_path / "predictions.parquet"
    file.write_text("an earlier run")
    with PredictionsFile(file) as out:
        out.write("home", take(FRAME, np.zeros(0, int)), {}, {})
    assert list(tmp_path.iterdir()) == []
