"""The ranker on small data with a planted signal, and the files that it writes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from feature_repo.transforms.request.ranker_inputs import (
    INPUTS_OF,
    INPUTS_OF_USER,
    RANKER_INPUTS,
)
from serving.policy.base_margin import BaseMargin
from serving.policy.probability import Calibration
from tests.support.signal_frames import SIZE, frame
from training.data.frame import NEVER, concatenated, groups, take
from training.evaluation import group_metrics
from training.evaluation.compare import evaluate
from training.evaluation.predictions import predictions_table
from training.models.baselines import rule_scores
from training.models.linear import fit_linear
from training.models.probability import fit_calibration, fit_with_probabilities
from training.models.ranker import (
    RATE_VISITS,
    RankerConfig,
    RankerError,
    fit,
    importance,
    informative,
    predict,
)
from training.registry.promotion_gate import Gate, Measurements, decide

CONFIG = RankerConfig(
    n_estimators=40, learning_rate=0.3, min_child_weight=0.1, reg_lambda=1.0, nthread=1
)


TRAIN, VALID, TEST = frame(1), frame(2), frame(3)


@pytest.fixture(scope="module")
def model():
    return fit([TRAIN, VALID], CONFIG)


def _ndcg(frame, scores):
    ranking = group_metrics.ranked(frame.qid, frame.coupon_id, frame.label, scores)
    return group_metrics.mean(group_metrics.ndcg(ranking, 10))


def _shuffled(frame):
    label = np.random.default_rng(0).permutation(frame.label)
    return replace(frame, label=label, later=label, learned=np.where(label > 0, 1, NEVER))


def _carted(frame):
    """The frame with carts that hold what the redeemed coupons cover."""
    inputs = frame.inputs.copy()
    inputs[:, RANKER_INPUTS.index("cart_covered_amount")] = 100 * frame.label
    return replace(frame, inputs=inputs)


def _measured(found):
    """Measurements of a version without any other fault."""
    without = found.without_order
    return Measurements("ndcg@10", found.against_rule, None, without, (), (), None, 0, 1_500, 1.0)


def test_ranker_learns_a_planted_signal_and_passes_the_gate(model):
    measured = evaluate(
        TEST, predict(model, TEST.inputs, "home"), rule_scores(TEST, "checkout", seed=1)
    )
    assert measured.table["ranker"]["ndcg@10"] > 0.95
    assert decide(Gate(), _measured(measured)).passed


def test_ranker_of_shuffled_labels_learns_nothing_and_fails_the_gate():
    model = fit([_shuffled(TRAIN), _shuffled(VALID)], CONFIG)
    measured = evaluate(
        TEST, predict(model, TEST.inputs, "home"), rule_scores(TEST, "checkout", seed=1)
    )
    assert measured.table["ranker"]["ndcg@10"] < 0.7
    assert not decide(Gate(), _measured(measured)).passed


def test_same_seed_gives_the_same_bytes_and_another_does_not(model):
    again, other = (fit([TRAIN, VALID], replace(CONFIG, seed=seed)) for seed in (CONFIG.seed, 7))
    assert again.save_raw() == model.save_raw()
    assert other.save_raw() != model.save_raw()


def test_only_the_checkout_ranker_reads_the_cart(model):
    checkout = fit([_carted(TRAIN), _carted(VALID)], replace(CONFIG, ranker="checkout"))
    assert checkout.feature_names == list(RANKER_INPUTS)
    carted = _carted(TEST)
    before, after = (predict(checkout, part.inputs, "checkout") for part in (TEST, carted))
    assert (before != after).any()
    at_home = predict(model, TEST.inputs, "home")
    np.testing.assert_array_equal(predict(model, carted.inputs, "home"), at_home)


def test_score_of_a_row_does_not_depend_on_other_rows(model):
    whole = predict(model, TEST.inputs, "home")
    np.testing.assert_array_equal(predict(model, TEST.inputs[5:9], "home"), whole[5:9])
    assert whole.dtype == np.float32


def test_more_own_purchases_never_lower_the_sum_of_the_trees(model):
    rows = np.repeat(TEST.inputs[:1], 50, axis=0)
    rows[:, RANKER_INPUTS.index("own_purchase_count")] = np.linspace(0, 3, 50)
    trees = predict(model, rows, "home") - BaseMargin.of_model(model, "home")(rows)
    assert (np.diff(trees) >= -1e-6).all()


def test_learning_rate_follows_the_number_of_visits():
    def rate(count):
        part = take(TRAIN, np.isin(TRAIN.qid, np.unique(TRAIN.qid)[:count]))
        settings = json.loads(fit([part], CONFIG).save_config())
        booster = settings["learner"]["gradient_booster"]["tree_train_param"]
        return float(booster["learning_rate"])

    visits = len(groups(informative(TRAIN)))
    assert visits < 3 * RATE_VISITS
    expected = CONFIG.learning_rate * max(visits / RATE_VISITS, 1 / 3)
    assert rate(len(groups(TRAIN))) == pytest.approx(expected)
    assert rate(3) == pytest.approx(CONFIG.learning_rate / 3)


def test_model_has_the_names_of_its_inputs_and_their_gain(model):
    assert model.feature_names == list(INPUTS_OF["home"])
    gains = importance(model, 5)
    assert gains[0][0] == "category_purchase_share"
    assert len(gains) == 5 and 0.5 < gains[0][1] <= 1.0


def test_groups_without_an_order_to_learn_are_left_out():
    label = TRAIN.label.copy()
    label[:SIZE], label[SIZE : 2 * SIZE] = 0, 1
    kept = informative(replace(TRAIN, label=label))
    assert len(groups(kept)) == len(groups(TRAIN)) - 2
    assert kept.qid[0] == TRAIN.qid[2 * SIZE]


def test_untrained_trees_rank_as_their_base_margin_does():
    none = fit([TRAIN], replace(CONFIG, n_estimators=0))
    margin = BaseMargin.of_model(none, "home")
    assert margin.linear is not None
    np.testing.assert_allclose(predict(none, TEST.inputs, "home"), margin(TEST.inputs), rtol=1e-6)


def test_linear_part_learns_the_signal_and_no_weight_of_the_user():
    part = fit_linear([TRAIN, VALID], "home", 1_000_000, seed=1)
    assert _ndcg(TEST, part.scores(TEST.inputs)) > 0.9
    assert max(part.weights, key=part.weights.get) == "category_purchase_share"
    assert not INPUTS_OF_USER & part.weights.keys()
    both = np.concatenate([TRAIN.inputs, VALID.inputs])
    # The regression learned from all pairs of these small frames, so its mean is theirs.
    assert part.scores(both).mean() == pytest.approx(0.0, abs=1e-5)


def test_linear_part_of_few_visits_has_less_weight_at_home():
    few, many = (fit_linear([TRAIN], "home", visits, seed=1) for visits in (1_000, 10**9))
    for name, weight in many.weights.items():
        assert few.weights[name] == pytest.approx(weight / 2, rel=1e-5, abs=1e-12)
    few, many = (fit_linear([TRAIN], "checkout", visits, seed=1) for visits in (10, 10**9))
    assert few.weights == many.weights


def test_linear_part_needs_both_labels():
    none = replace(TRAIN, label=np.zeros_like(TRAIN.label))
    every = replace(TRAIN, label=np.ones_like(TRAIN.label))
    assert [fit_linear([one], "home", 1, seed=1) for one in (none, every)] == [None, None]


def test_progress_is_called_for_every_tree():
    calls = []
    fit([TRAIN, VALID], CONFIG, lambda done, total: calls.append((done, total)))
    assert calls == [(tree, 40) for tree in range(1, 41)]


def test_empty_part_is_skipped_and_only_empty_parts_are_refused():
    nothing = take(TRAIN, np.zeros(len(TRAIN), bool))
    assert fit([TRAIN, nothing], CONFIG).num_boosted_rounds() == 40
    with pytest.raises(RankerError, match="got none in 0 pairs"):
        fit([nothing, nothing], CONFIG)


def test_metrics_recomputed_from_the_predictions_are_the_same(model, tmp_path):
    import pyarrow.parquet as pq

    scores = {
        "ranker": predict(model, TEST.inputs, "home"),
        **rule_scores(TEST, "checkout", seed=1),
    }
    pq.write_table(predictions_table("home", TEST, scores), tmp_path / "predictions.parquet")
    read = pq.read_table(tmp_path / "predictions.parquet").to_pandas()
    for name, score in scores.items():
        rows = read[read.model == name]
        columns = (rows[column].to_numpy() for column in ("qid", "coupon_id", "label", "score"))
        again = group_metrics.mean(group_metrics.ndcg(group_metrics.ranked(*columns), 10))
        assert again == _ndcg(TEST, score)


def test_ndcg_agrees_with_scikit_learn_where_nothing_ties():
    from sklearn.metrics import ndcg_score

    scores = np.random.default_rng(4).random(len(TEST))
    for k in (1, 5, 20):
        ranking = group_metrics.ranked(TEST.qid, TEST.coupon_id, TEST.label, scores)
        expected = ndcg_score(TEST.label.reshape(-1, SIZE), scores.reshape(-1, SIZE), k=k)
        assert group_metrics.mean(group_metrics.ndcg(ranking, k)) == pytest.approx(expected)


def test_model_file_holds_probabilities_of_visits_that_its_settings_did_not_learn_from():
    train, valid = _with_quiet_visits(TRAIN, 1), _with_quiet_visits(VALID, 2)
    model = fit_with_probabilities(train, valid, CONFIG)
    stored = Calibration.from_json(model.attr("calibration"))
    earlier = fit([train], CONFIG)
    assert stored == fit_calibration(valid, predict(earlier, valid.inputs, "home"))
    # The trees are those of the ranker without probabilities.
    plain = fit([train, valid], CONFIG)
    expected = predict(plain, TEST.inputs, "home")
    np.testing.assert_array_equal(predict(model, TEST.inputs, "home"), expected)


def test_model_without_a_visit_to_calibrate_on_has_no_probabilities():
    assert fit_with_probabilities(TRAIN, VALID, CONFIG).attr("calibration") is None
    nothing = take(VALID, np.zeros(len(VALID), bool))
    assert fit_with_probabilities(TRAIN, nothing, CONFIG).attr("calibration") is None


def _with_quiet_visits(one, seed):
    """Adds as many visits without a redemption."""
    other = frame(seed + 50)
    unused = np.zeros(len(other), np.int8)
    never = np.full(len(other), NEVER)
    qid = np.array([f"quiet-{name}" for name in other.qid], object)
    return concatenated(one, replace(other, qid=qid, label=unused, later=unused, learned=never))
