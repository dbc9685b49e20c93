"""A backtest's summary against slow implementations on the same scores."""

import json
import math
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pytest

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from tests.support.ranking_frames import numbered, ranking_frame
from training.data.frame import NEVER
from training.evaluation.compare import RANKER
from training.evaluation.list_metrics import Catalog
from training.models.baselines import PLAIN_RULES, rule_scores
from training.studies.backtest_scores import BacktestScores
from training.studies.backtest_summary import (
    LEAST_GROUPS,
    calibration_ahead,
    compare_slices,
    json_ready,
    summarize,
)

GROUPS, SIZE = 120, 15


def scored(seed: int = 0) -> BacktestScores:
    """Builds 120 exposures of 60 users in three folds; own purchases raise the odds."""
    rng = np.random.default_rng(seed)
    count = GROUPS * SIZE
    own = rng.poisson(0.7, count)
    inputs = {
        "own_purchase_count": own,
        "covered_buyer_count_all": rng.integers(0, 50, count),
        "purchase_count_all": np.repeat(rng.choice([5, 300, 800], GROUPS), SIZE),
        "kids_count": np.repeat(np.where(rng.random(GROUPS) < 0.5, 0, 2), SIZE),
    }
    label = (rng.random(count) < 0.03 + 0.06 * own).astype(np.int8)
    fold = np.repeat(np.sort(rng.choice([10, 20, 30], GROUPS)), SIZE)
    frame = ranking_frame(
        numbered("q", GROUPS, SIZE),
        label,
        user_id=numbered("u", GROUPS, SIZE, shared_by=2),
        campaign_id=[f"of {start}" for start in fold],
        as_of=fold,
        open_until=fold + 5,
        learned=np.where(label > 0, fold + 1, NEVER),
        inputs=np.full((count, len(RANKER_INPUTS)), np.nan, np.float32),
        **inputs,
    )
    guess = label * 0.5 + rng.random(count)
    return BacktestScores(frame, fold, {RANKER: guess, **rule_scores(frame, seed)})


SCORED = scored()
CATALOG = Catalog(100, {f"k{n}": n for n in range(SIZE)}, np.eye(SIZE))
SUMMARY = summarize(SCORED, {"of 10": "A", "of 20": "B"}, CATALOG, PLAIN_RULES, seed=1)


def ndcg(rows, label, score) -> float | None:
    """NDCG@10 of one group by its definition; None without a redeemed coupon."""

    def hashed(row) -> int:
        coupon = SCORED.frame.coupon_id[row].encode()
        return int.from_bytes(blake2b(coupon, digest_size=8).digest(), "little")

    ordered = sorted(rows, key=lambda row: (-score[row], -hashed(row)))[:10]
    gained = sum(label[row] / math.log2(rank + 1) for rank, row in enumerate(ordered, 1))
    redeemed = int(sum(label[row] for row in rows))
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(10, redeemed) + 1))
    return gained / best if redeemed else None


def slow_mean(name: str, keep=lambda first: True, label=SCORED.frame.label) -> float:
    starts = [start for start in range(0, GROUPS * SIZE, SIZE) if keep(start)]
    values = [ndcg(range(start, start + SIZE), label, SCORED.scores[name]) for start in starts]
    return float(np.mean([one for one in values if one is not None]))


def test_summary_is_unchanged_by_json():
    assert json.loads(json.dumps(SUMMARY)) == SUMMARY


@pytest.mark.parametrize("name", [RANKER, *PLAIN_RULES])
def test_value_of_every_model_agrees_with_its_definition(name):
    assert SUMMARY["models"][name]["ndcg@10"] == pytest.approx(slow_mean(name))


def test_ranker_is_compared_with_every_other_model():
    against = SUMMARY["ranker_against"]
    assert list(against) == list(PLAIN_RULES)
    for name, found in against.items():
        assert found["difference"] == pytest.approx(slow_mean(RANKER) - slow_mean(name))
        assert found["low"] < found["difference"] < found["high"]
    assert SUMMARY["best_rule"] == max(PLAIN_RULES, key=slow_mean)


def test_each_fold_has_its_own_groups():
    assert [fold["campaigns"] for fold in SUMMARY["folds"]] == [["of 10"], ["of 20"], ["of 30"]]
    assert sum(fold["groups"] for fold in SUMMARY["folds"]) == SUMMARY["groups"]["all"] == GROUPS
    second = slow_mean("popularity", lambda first: SCORED.fold[first] == 20)
    assert SUMMARY["folds"][1]["ndcg@10"]["popularity"] == pytest.approx(second)


@pytest.mark.parametrize(
    ("slicing", "part", "column", "values"),
    [
        ("history", "cold", "purchase_count_all", [5]),
        ("history", "light", "purchase_count_all", [300]),
        ("history", "heavy", "purchase_count_all", [800]),
        ("children", "some", "kids_count", [2]),
    ],
)
def test_slice_has_the_groups_of_its_name(slicing, part, column, values):
    inputs = SCORED.frame.inputs[:, RANKER_INPUTS.index(column)]
    expected = slow_mean(RANKER, lambda first: inputs[first] in values)
    assert SUMMARY["slices"][slicing][part]["ranker_value"] == pytest.approx(expected)


def test_users_and_campaigns_without_a_value_are_the_slice_unknown():
    assert list(SUMMARY["slices"]["age"]) == ["unknown"]
    assert list(SUMMARY["slices"]["campaign type"]) == ["A", "B", "unknown"]


def pairs(bins: list[dict]) -> int:
    return sum(one["pairs"] for one in bins)


def test_every_pair_is_in_one_bin_of_the_calibration():
    assert pairs(SUMMARY["calibration"]) == GROUPS * SIZE


def test_calibration_ahead_uses_no_outcome_from_after_the_start_of_a_campaign():
    assert pairs(SUMMARY["calibration_ahead"]) == (SCORED.fold > 10).sum()
    # First all coupons, then only the redeemed ones are still open when the next campaign starts.
    redeemed = SCORED.frame.label > 0
    for is_open in (np.full(len(redeemed), True), redeemed):
        until = SCORED.fold + np.where(is_open, 11, 5)
        still_open = replace(SCORED, frame=replace(SCORED.frame, open_until=until))
        assert pairs(calibration_ahead(still_open)) == (SCORED.fold > 20).sum()


def test_metric_without_a_value_is_null_in_json():
    found = json_ready({"auc": float("nan"), "folds": ({"ndcg@10": float("nan")}, 1, "NaN")})
    assert json.dumps(found, allow_nan=False) == (
        '{"auc": null, "folds": [{"ndcg@10": null}, 1, "NaN"]}'
    )


def test_never_bought_slice_counts_only_coupons_without_own_purchases():
    never = SCORED.frame.label * (
        SCORED.frame.inputs[:, RANKER_INPUTS.index("own_purchase_count")] == 0
    )
    found = SUMMARY["slices"]["coupon"]["never bought"]
    assert found["ranker_value"] == pytest.approx(slow_mean(RANKER, label=never))


def test_slice_with_few_groups_has_a_count_and_no_comparison():
    inputs = SCORED.frame.inputs.copy()
    inputs[: SIZE * 3, RANKER_INPUTS.index("kids_count")] = np.nan
    few = replace(SCORED, frame=replace(SCORED.frame, inputs=inputs))
    found = compare_slices(few, SUMMARY["best_rule"], {}, seed=1)["children"]["unknown"]
    assert list(found) == ["groups"] and found["groups"] < LEAST_GROUPS
