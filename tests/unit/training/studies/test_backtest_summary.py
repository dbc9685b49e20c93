"""A backtest's summary against what its own scores say, read slowly."""

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
from training.studies.backtest import Scored
from training.studies.backtest_summary import LEAST_GROUPS, plain, summarize

GROUPS, SIZE = 120, 15


def scored(seed: int = 0) -> Scored:
    """120 exposures of 60 users in three folds; more own purchases, likelier redeemed."""
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
    return Scored(frame, fold, {RANKER: guess, **rule_scores(frame, seed)})


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


def test_summary_is_plain_data():
    assert json.loads(json.dumps(SUMMARY)) == SUMMARY


@pytest.mark.parametrize("name", [RANKER, *PLAIN_RULES])
def test_every_model_has_the_value_that_its_scores_give(name):
    assert SUMMARY["models"][name]["ndcg@10"] == pytest.approx(slow_mean(name))


def test_ranker_stands_beside_every_other_model():
    against = SUMMARY["ranker_against"]
    assert list(against) == list(PLAIN_RULES)
    for name, found in against.items():
        assert found["difference"] == pytest.approx(slow_mean(RANKER) - slow_mean(name))
        assert found["low"] < found["difference"] < found["high"]
    assert SUMMARY["best_rule"] == max(PLAIN_RULES, key=slow_mean)


def test_folds_hold_their_own_groups():
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
def test_slices_hold_the_groups_that_they_name(slicing, part, column, values):
    inputs = SCORED.frame.inputs[:, RANKER_INPUTS.index(column)]
    expected = slow_mean(RANKER, lambda first: inputs[first] in values)
    assert SUMMARY["slices"][slicing][part]["ranker_value"] == pytest.approx(expected)


def test_what_is_not_known_of_a_user_or_campaign_is_a_slice_of_its_own():
    assert list(SUMMARY["slices"]["age"]) == ["unknown"]
    assert list(SUMMARY["slices"]["campaign type"]) == ["A", "B", "unknown"]


def pairs(name: str, of: Scored = SCORED) -> int:
    found = SUMMARY if of is SCORED else summarize(of, {}, CATALOG, PLAIN_RULES, seed=1)
    return sum(one["pairs"] for one in found[name])


def test_every_pair_has_its_part_in_the_calibration():
    assert pairs("calibration") == GROUPS * SIZE


def test_calibration_ahead_knows_nothing_that_came_after_a_campaign_started():
    assert pairs("calibration_ahead") == (SCORED.fold > 10).sum()
    # Coupons that are still open when the next campaign starts, and what of them is redeemed then.
    redeemed = SCORED.frame.label > 0
    for still in (np.full(len(redeemed), True), redeemed):
        until = SCORED.fold + np.where(still, 11, 5)
        open_yet = replace(SCORED, frame=replace(SCORED.frame, open_until=until))
        assert pairs("calibration_ahead", open_yet) == (SCORED.fold > 20).sum()


def test_what_nothing_has_a_value_of_is_null_in_json():
    found = plain({"auc": float("nan"), "folds": ({"ndcg@10": float("nan")}, 1, "NaN")})
    assert json.dumps(found, allow_nan=False) == (
        '{"auc": null, "folds": [{"ndcg@10": null}, 1, "NaN"]}'
    )


def test_gains_of_never_bought_coupons_are_counted_apart():
    never = SCORED.frame.label * (
        SCORED.frame.inputs[:, RANKER_INPUTS.index("own_purchase_count")] == 0
    )
    found = SUMMARY["slices"]["coupon"]["never bought"]
    assert found["ranker_value"] == pytest.approx(slow_mean(RANKER, label=never))


def test_slice_of_few_groups_is_counted_and_not_compared():
    inputs = SCORED.frame.inputs.copy()
    inputs[: SIZE * 3, RANKER_INPUTS.index("kids_count")] = np.nan
    few = replace(SCORED, frame=replace(SCORED.frame, inputs=inputs))
    found = summarize(few, {}, CATALOG, PLAIN_RULES, seed=1)["slices"]["children"]["unknown"]
    assert list(found) == ["groups"] and found["groups"] < LEAST_GROUPS
