"""A backtest of both rankers on drawn visits: its file of predictions gives its summary again."""

import math
from collections import defaultdict
from hashlib import blake2b

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo.instants import DAY
from tests.support.visit_frames import MAY, visits
from training.data.frame import RankingFrame, take
from training.data.purchase_matrix import PurchaseMatrix
from training.data.sample import Sample
from training.evaluation.compare import LATER, RANKER
from training.evaluation.list_metrics import Catalog
from training.evaluation.predictions import PredictionsFile
from training.models.baselines import plain_rules
from training.models.ranker import RankerConfig
from training.studies.backtest import MONTHLY, WEEK_LATE, backtest, planned
from training.studies.backtest_summary import json_ready, summarize_visits
from training.studies.contenders import contenders

DAYS, SIZE = 120, 8
FIRST, UNTIL = MAY + 70 * DAY, MAY + DAYS * DAY
FRAMES = {"home": visits(3_300, DAYS, SIZE, seed=1), "checkout": visits(3_300, DAYS, SIZE, seed=2)}
MODELS = {key: {RANKER, WEEK_LATE, MONTHLY, *plain_rules(key)} for key in FRAMES}


def no_purchases(start: int) -> PurchaseMatrix:
    raise AssertionError("Only recommenders read purchases.")


def blocks():
    """Yields a day of each ranker after the other, as a stream of requests would."""
    for day in range(DAYS):
        for ranker, frame in FRAMES.items():
            here = (frame.as_of - MAY) // DAY == day
            yield ranker, take(frame, here)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The predictions as rows, and the summaries by ranker."""
    file = tmp_path_factory.mktemp("reports") / "backtest_predictions.parquet"
    plans = {}
    for ranker in FRAMES:
        config = RankerConfig(ranker=ranker, n_estimators=20, learning_rate=0.2, nthread=1)
        fits = contenders(config, no_purchases, 7)
        kept = {name: fits[name] for name in (RANKER, *plain_rules(ranker))}
        plans[ranker] = planned(kept, FIRST, UNTIL)
    with PredictionsFile(file, rows_at_once=5_000) as out:
        scored = backtest(blocks(), plans, Sample(0.3, 8), out.write)
    catalog = Catalog(60, {f"k{n}": n for n in range(SIZE)}, np.eye(SIZE))
    summaries = {
        ranker: summarize_visits(one, {}, catalog, plain_rules(ranker), 7)
        for ranker, one in scored.items()
    }
    return pq.read_table(file).to_pylist(), summaries


def _hashed(coupon: str) -> int:
    return int.from_bytes(blake2b(coupon.encode(), digest_size=8).digest(), "little")


def _ndcg(rows: list[dict], label: str) -> float | None:
    redeemed = sum(row[label] for row in rows)
    if redeemed in (0, len(rows)):
        return None
    ordered = sorted(rows, key=lambda row: (-row["score"], -_hashed(row["coupon_id"])))[:10]
    gained = sum(row[label] / math.log2(rank + 1) for rank, row in enumerate(ordered, 1))
    return gained / sum(1 / math.log2(rank + 1) for rank in range(1, min(10, redeemed) + 1))


@pytest.mark.parametrize("ranker", list(FRAMES))
def test_metrics_of_every_model_are_those_of_the_file(found, ranker):
    rows, summaries = found
    by_group = defaultdict(list)
    for row in rows:
        if row["ranker"] == ranker:
            by_group[row["model"], row["qid"]].append(row)
    assert {model for model, _ in by_group} == MODELS[ranker] == set(summaries[ranker]["models"])
    for model in MODELS[ranker]:
        groups = [group for (name, _), group in by_group.items() if name == model]
        for label, metric in (("label", "ndcg@10"), ("later", LATER)):
            values = [value for one in groups for value in [_ndcg(one, label)] if value is not None]
            expected = summaries[ranker]["models"][model][metric]
            assert np.mean(values) == pytest.approx(expected), (model, metric)


@pytest.mark.parametrize("ranker", list(FRAMES))
def test_file_has_the_whole_candidates_of_each_tested_visit_with_an_order(found, ranker):
    rows, summaries = found
    frame: RankingFrame = FRAMES[ranker]
    tested = frame.as_of >= FIRST
    label, later = (one[tested].reshape(-1, SIZE).sum(axis=1) for one in (frame.label, frame.later))
    either = ((label > 0) & (label < SIZE)) | ((later > 0) & (later < SIZE))
    mine = [row for row in rows if row["ranker"] == ranker and row["model"] == RANKER]
    assert [row["qid"] for row in mine] == frame.qid[tested][np.repeat(either, SIZE)].tolist()
    assert summaries[ranker]["groups"]["all"] == len(label)
    assert all(row["fold"] <= row["as_of"] for row in mine)


def test_trained_ranker_is_above_chance_and_its_probability_above_the_base_rate(found):
    for summary in found[1].values():
        assert summary["ranker_against"]["random"]["low"] > 0
        assert summary["visits"]["average_precision"] > 1.2 * summary["visits"]["base_rate"]
        expected, actual = (summary["visits"][n] for n in ("expected_redemptions", "redemptions"))
        assert expected == pytest.approx(actual, rel=0.2)


def test_summary_can_be_written_as_json(found):
    import json

    for summary in found[1].values():
        json.dumps(json_ready(summary), allow_nan=False)
