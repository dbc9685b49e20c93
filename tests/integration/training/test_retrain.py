"""Baselines and learning curve of a retrain, on real models with a planted signal."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from tests.support.signal_frames import SIZE, frame
from training.data.frame import NEVER, RankingFrame, take
from training.data.purchase_matrix import PurchaseMatrix
from training.evaluation.compare import RANKER
from training.models.baselines import PLAIN_RULES
from training.models.ranker import RankerConfig, fit, predict
from training.registry.records import LearningRecord
from training.studies.contenders import REFRESHES, contenders, score_baselines
from training.studies.learning_curve import DRAWS, SHARES, learning_curve

CONFIG = RankerConfig(
    n_estimators=30, learning_rate=0.3, min_child_weight=0.1, reg_lambda=1.0, nthread=1
)
TRAIN = frame(1)


def in_campaigns(part: RankingFrame, count: int) -> RankingFrame:
    """Spreads the groups over ``count`` campaigns, which start one after the other."""
    number = np.arange(len(part)) // SIZE * count // (len(part) // SIZE)
    names = np.array([f"campaign {n}" for n in range(count)], object)
    return replace(part, campaign_id=names[number], as_of=100 + number.astype(np.int64))


TEST = in_campaigns(frame(3, 60), 5)


def purchases(start: int) -> PurchaseMatrix:
    """Draws purchases of covered products, different ones for each instant."""
    users = {user: row for row, user in enumerate(dict.fromkeys(TEST.user_id))}
    coupons = {coupon: row for row, coupon in enumerate(dict.fromkeys(TEST.coupon_id))}
    bought = csr_array(np.random.default_rng(start).poisson(1.0, (len(users), SIZE)).astype(float))
    words = [f"word{n} brand{n % 3}" for n in range(SIZE)]
    return PurchaseMatrix(users, coupons, bought, bought / 2, csr_array(np.eye(SIZE)), words)


def test_retrain_scores_every_contender_of_a_backtest():
    instants = []

    def known(start: int) -> PurchaseMatrix:
        instants.append(start)
        return purchases(start)

    found = score_baselines([TRAIN], TEST, CONFIG, known, 7)
    every = set(contenders(CONFIG, known, 7)) - {RANKER, *PLAIN_RULES}
    assert set(found.scores) == every and found.left_out == {}
    assert all(len(scores) == len(TEST) for scores in found.scores.values())
    assert instants == [100, 102, 104] and len(instants) == REFRESHES


def test_recommenders_use_only_purchases_before_their_run_of_visits():
    found = score_baselines([TRAIN], TEST, CONFIG, purchases, 7).scores["own_purchases_decayed"]
    for start, last in ((100, 101), (102, 103), (104, 104)):
        here = (TEST.as_of >= start) & (TEST.as_of <= last)
        known = purchases(start)
        expected = known.pair_scores(TEST.user_id, TEST.coupon_id, known.decayed.toarray())
        np.testing.assert_allclose(found[here], expected[here])


def test_coupon_that_first_comes_in_a_later_block_gets_its_own_score():
    fits = contenders(CONFIG, purchases, 7)
    for name in ("own_purchases_decayed", "item_based_cosine", "content"):
        whole = fits[name]([TRAIN], 100)(TEST)
        other = contenders(CONFIG, purchases, 7)[name]([TRAIN], 100)
        place = np.arange(len(TEST)) % SIZE
        for part in (place < 3, place >= 2):
            np.testing.assert_allclose(other(take(TEST, part)), whole[part], err_msg=name)


def test_no_contender_reads_the_outcomes_of_its_test():
    inverted = replace(TEST, label=1 - TEST.label, learned=np.where(TEST.label > 0, NEVER, 200))
    fits, again = (contenders(CONFIG, purchases, 7) for _ in range(2))
    for name in fits:
        before = fits[name]([TRAIN], 100)(TEST)
        after = again[name]([TRAIN], 100)(inverted)
        # Threads add up a forest's trees in any order.
        np.testing.assert_allclose(before, after, rtol=1e-12, err_msg=name)


def test_baseline_that_cannot_be_fitted_is_left_out_with_the_reason():
    def wordless(start: int) -> PurchaseMatrix:
        return replace(purchases(start), text=[""] * SIZE)

    found = score_baselines([TRAIN], TEST, CONFIG, wordless, 7)
    assert set(found.left_out) == {"content", "hybrid"}
    assert "vocabulary" in found.left_out["content"] and "random_forest" in found.scores


def test_classifiers_learn_the_same_from_one_frame_and_from_its_parts():
    early = np.arange(len(TRAIN)) < len(TRAIN) // 3
    parts = [take(TRAIN, early), take(TRAIN, ~early)]
    for known in (parts, [take(TRAIN, early & ~early), TRAIN]):
        whole, split = (
            contenders(CONFIG, purchases, 7)["logistic_regression"](one, 100)(TEST)
            for one in ([TRAIN], known)
        )
        np.testing.assert_array_equal(whole, split)


@pytest.fixture(scope="module")
def curve():
    scores = predict(fit([TRAIN], CONFIG), TEST.inputs, "home")
    return learning_curve([TRAIN], TEST, CONFIG, scores)


def test_curve_has_every_share_and_draw_and_ends_with_all_households(curve):
    assert [one.share for one in curve] == [*SHARES * DRAWS, 1.0]
    assert [one.groups for one in curve[: len(SHARES)]] == [19, 38, 75]
    assert curve[-1].groups == 150 and curve[-1].redeemed == 300


def test_more_data_raise_the_metric(curve):
    small = np.mean([one.value for one in curve if one.share == SHARES[0]])
    assert curve[-1].value > small + 0.02
    assert curve[-1].value > 0.9


def test_points_repeat_with_the_seed_and_differ_between_draws(curve):
    again = learning_curve([TRAIN], TEST, CONFIG, np.zeros(len(TEST)))
    assert again[:-1] == curve[:-1]
    assert len({one.value for one in curve if one.share == SHARES[0]}) == DRAWS


def test_curve_is_the_same_from_one_frame_and_from_its_parts(curve):
    early = np.arange(len(TRAIN)) < 70 * SIZE
    parts = [take(TRAIN, early), take(TRAIN, ~early)]
    found = learning_curve(parts, TEST, CONFIG, predict(fit([TRAIN], CONFIG), TEST.inputs, "home"))
    assert found == curve


def test_share_without_an_order_to_learn_has_no_value():
    bare = replace(TRAIN, label=np.where(np.arange(len(TRAIN)) < SIZE, TRAIN.label, 0))
    found = learning_curve([bare], TEST, CONFIG, np.zeros(len(TEST)))
    assert None in [one.value for one in found] and found[-1].value is not None


def test_learning_is_unchanged_by_json(curve):
    kept = LearningRecord(curve, {"content": "no words"})
    assert LearningRecord.from_json(kept.to_json()) == kept
