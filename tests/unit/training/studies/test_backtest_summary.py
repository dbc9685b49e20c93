"""A backtest's summary against slow implementations on the same scores."""

import json
import math
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pytest

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.policy.probability import Calibration
from tests.support.ranking_frames import numbered, ranking_frame
from training.data.frame import NEVER, take
from training.evaluation.compare import LATER, RANKER, compare
from training.evaluation.list_metrics import Catalog
from training.evaluation.orders import without_order
from training.models.baselines import PLAIN_RULES, rule_scores
from training.studies.backtest_scores import (
    BacktestScores,
    LaterScores,
    RollingScores,
    visits_of,
)
from training.studies.backtest_summary import (
    COLD_METRICS,
    LEAST_BROAD,
    LEAST_GROUPS,
    cold_start,
    compare_slices,
    json_ready,
    summarize,
    summarize_visits,
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
    return BacktestScores(frame, fold, {RANKER: guess, **rule_scores(frame, "checkout", seed)})


SCORED = scored()
CATALOG = Catalog(100, {f"k{n}": n for n in range(SIZE)}, np.eye(SIZE))
SUMMARY = summarize(SCORED, {"of 10": "A", "of 20": "B"}, CATALOG, PLAIN_RULES, seed=1)


def ndcg(rows, label, score) -> float | None:
    """NDCG@10 of one group by its definition; None without an order."""

    def hashed(row) -> int:
        coupon = SCORED.frame.coupon_id[row].encode()
        return int.from_bytes(blake2b(coupon, digest_size=8).digest(), "little")

    ordered = sorted(rows, key=lambda row: (-score[row], -hashed(row)))[:10]
    gained = sum(label[row] / math.log2(rank + 1) for rank, row in enumerate(ordered, 1))
    redeemed = int(sum(label[row] for row in rows))
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(10, redeemed) + 1))
    return gained / best if 0 < redeemed < len(rows) else None


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


CALIBRATION = Calibration(2.0, -4.0, 0.8, -0.5)
LATER_VALUES = {
    name: np.random.default_rng(place).random(70)
    for place, name in enumerate((*SCORED.scores, "ranker_monthly", "ranker_week_late"))
}


def rolling(exposures: BacktestScores | None = None) -> RollingScores:
    """Builds a ranker's results: the scored visits, and 30 more without a redemption."""
    scores = dict(SCORED.scores) | {
        "ranker_monthly": SCORED.scores[RANKER] * 0.5 + SCORED.scores["popularity"],
        "ranker_week_late": SCORED.scores[RANKER] + 1.0,
    }
    bare = take(SCORED.frame, np.arange(30 * SIZE))
    bare = replace(bare, label=np.zeros(len(bare), np.int8), weight=np.full(len(bare), 2.0))
    visits = [
        visits_of(frame, scores[RANKER][: len(frame)], CALIBRATION)
        for frame in (SCORED.frame, bare)
    ]
    together = {
        name: np.concatenate([getattr(one, name) for one in visits]) for name in vars(visits[0])
    }
    users = np.array([f"u{n // 2}" for n in range(70)], object)
    return RollingScores(
        "checkout",
        BacktestScores(SCORED.frame, SCORED.fold, scores, {"content": "no words"}),
        LaterScores(users, np.zeros(70, np.int64), LATER_VALUES),
        type(visits[0])(**together),
        exposures,
    )


VISITS = summarize_visits(rolling(), {"of 10": "A"}, CATALOG, PLAIN_RULES, seed=1)


def test_summary_of_visits_counts_the_groups_without_an_order_among_all_visits():
    expected = without_order(SCORED.frame.qid, SCORED.frame.label)
    found = VISITS["without_order"]
    assert found["groups"] == VISITS["groups"]["all"] == GROUPS + 30
    assert found["none_redeemed"] == expected.none_redeemed + 30
    assert VISITS["groups"]["redeemed"] == expected.with_order
    assert (VISITS["ranker"], VISITS["left_out"]) == ("checkout", {"content": "no words"})


def test_later_redemptions_have_their_own_mean_and_comparison_with_the_best_rule():
    rule = VISITS["best_rule"]
    for name, values in LATER_VALUES.items():
        assert VISITS["models"][name][LATER] == pytest.approx(values.mean())
    users = np.array([f"u{n // 2}" for n in range(70)], object)
    alone = compare(rule, LATER_VALUES[RANKER], LATER_VALUES[rule], users, 1)
    assert VISITS["later"] == vars(alone)


def test_weekly_retraining_is_compared_with_monthly_and_with_a_week_late():
    assert set(VISITS["retraining"]) == {"ranker_monthly", "ranker_week_late"}
    monthly, late = VISITS["retraining"].values()
    assert late["difference"] == 0.0 and monthly["difference"] > 0
    assert monthly == VISITS["ranker_against"]["ranker_monthly"]


def test_expected_redemptions_stand_beside_the_actual_ones_with_their_weights():
    found, scores = VISITS["visits"], SCORED.scores[RANKER]
    starts = np.arange(0, len(scores), SIZE)
    each, _ = CALIBRATION.of_requests(scores, SCORED.frame.inputs, starts)
    assert found["expected_redemptions"] == pytest.approx(each.sum() + 2 * each[: 30 * SIZE].sum())
    assert found["redemptions"] == SCORED.frame.label.sum()
    assert found["visits"] == GROUPS + 30 and found["average_precision"] > found["base_rate"]


def test_months_and_campaigns_above_the_rule_are_counted():
    found, sliced = VISITS["breadth"], VISITS["slices"]["campaign"]
    counted = [one for one in sliced.values() if one["groups"] >= LEAST_BROAD]
    assert found["campaigns"] == len(counted) > 0
    assert found["campaigns_above"] == sum(one["difference"] > 0 for one in counted)
    assert (found["months"], found["other"]) == (1, VISITS["best_rule"])
    assert len(found["largest"]) == 3 and found["largest_share"] == 1.0
    assert f"of {len(counted)} campaigns" in found["sentences"]


def test_row_of_the_campaign_start_has_every_model_and_its_own_best_rule():
    few = replace(SCORED, frame=replace(SCORED.frame, label=np.roll(SCORED.frame.label, 1)))
    found = cold_start(few, PLAIN_RULES, seed=1)
    assert set(found["models"]) == set(SCORED.scores)
    assert all(list(one) == list(COLD_METRICS) for one in found["models"].values())
    values = {name: found["models"][name]["ndcg@10"] for name in PLAIN_RULES}
    assert found["best_rule"] == max(values, key=values.get)
    assert values[found["best_rule"]] == pytest.approx(
        slow_mean(found["best_rule"], label=few.frame.label)
    )
    against = found["ranker_against"]["random"]
    assert against["difference"] == pytest.approx(
        found["models"][RANKER]["ndcg@10"] - values["random"]
    )
    assert VISITS["cold_start"] is None
    whole = summarize_visits(rolling(few), {}, CATALOG, PLAIN_RULES, seed=1)
    assert whole["cold_start"] == found


def test_exposures_without_an_order_have_no_row():
    nothing = replace(SCORED.frame, label=np.zeros(len(SCORED.frame), np.int8))
    assert cold_start(replace(SCORED, frame=nothing), PLAIN_RULES, seed=1) is None


def test_summary_of_visits_is_unchanged_by_json():
    assert json.loads(json.dumps(json_ready(VISITS))) == json_ready(VISITS)
