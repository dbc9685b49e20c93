"""Report contents that are computed from the test part."""

from dataclasses import replace

import numpy as np

from feature_repo.instants import from_microseconds
from feature_repo.lake.coupon_scopes import CoveredProducts
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from feature_repo.transforms.request.reasons import Effects
from serving.policy.probability import Calibration
from tests.support.ranking_frames import numbered, ranking_frame
from tests.support.signal_frames import frame
from training.report.assembly import (
    checked_probabilities,
    feature_table,
    repeat_slices,
    worked_examples,
)

AS_OF = 1_500_000_000_000_000
TEST = replace(frame(3, 20), as_of=np.full(200, AS_OF))
SCORES = np.random.default_rng(1).random(len(TEST))
OWN = RANKER_INPUTS.index("own_purchase_count")


def explain(inputs: np.ndarray) -> Effects:
    return Effects(np.zeros_like(inputs), np.zeros(len(inputs)))


def test_worked_example_reads_products_for_its_user_and_instant():
    reads = []

    def covered(user, coupons, as_of):
        reads.append((user, tuple(coupons), as_of))
        return {coupons[0]: CoveredProducts(3, ["milk", "tea"], [])}

    examples = worked_examples(TEST, SCORES, explain, covered, 0)
    assert len(examples) == 3
    assert reads == [
        (one.user_id, tuple(coupon.coupon_id for coupon in one.coupons), one.when)
        for one in examples
    ]
    assert {one.when for one in examples} == {from_microseconds(AS_OF)}
    for one in examples:
        names = [coupon.name for coupon in one.coupons]
        assert names[0] == "milk · tea and 1 more"
        assert set(names[1:]) <= {"Products without a name"}


def test_worked_example_lists_scores_and_labels_by_rank():
    for one in worked_examples(TEST, SCORES, explain, lambda *read: {}, 0):
        rows = np.flatnonzero(TEST.user_id == one.user_id)
        ordered = rows[np.argsort(-SCORES[rows])]
        for coupon in one.coupons:
            row = ordered[coupon.rank - 1]
            assert coupon.coupon_id == TEST.coupon_id[row]
            assert (coupon.score, coupon.redeemed) == (SCORES[row], TEST.label[row] > 0)
        assert one.candidates == len(rows)


def test_repeat_slices_split_redeemed_coupons_by_an_earlier_purchase():
    inputs = TEST.inputs.copy()
    inputs[:, OWN] = np.where(TEST.user_id == "q3-0", 1, 0)
    sliced = repeat_slices(replace(TEST, inputs=inputs), SCORES, "random", SCORES[::-1])
    groups = {one.part: one.groups for one in sliced}
    assert groups == {"bought before": 1, "never bought": 19}
    assert {one.slicing for one in sliced} == {"redeemed coupon"}


def test_feature_without_a_gain_has_gain_zero():
    lineage = {"own_spend": ("at request time", "Spend."), "age_min": ("demographics", "Age.")}
    strength = {"own_spend": 0.7, "age_min": 0.3}
    spend, age = feature_table(lineage, strength, {"own_spend": 0.9}, "('own_spend',)")
    assert (spend.gain, spend.influence, spend.rising) == (0.9, 0.7, True)
    assert (age.gain, age.view, age.rising) == (0.0, "demographics", False)


def test_probabilities_of_lists_and_coupons_are_checked_with_the_weights_of_the_visits():
    label = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 0])
    test = ranking_frame(numbered("q", 5, 2), label, weight=[3, 3, 1, 1, 1, 1, 1, 1, 1, 1])
    scores, curves = np.arange(10.0), Calibration(0.5, -3.0, 1.0, 0.0)
    found = checked_probabilities(test, scores, curves)
    assert found.visits.visits == 5 and found.visits.base_rate == 2 / 7
    alone = [
        curves.of_request(scores[row : row + 2], test.inputs[row : row + 2])
        for row in range(0, 10, 2)
    ]
    lists = [of_list for _, of_list in alone]
    assert found.visits.mean_probability == np.average(lists, weights=[3, 1, 1, 1, 1])
    assert [pairs for *_, pairs in found.coupons] == [1] * 10
    assert found.coupons[0][0] == alone[0][0][0]


def test_version_without_a_calibration_has_only_the_quality_of_its_scores():
    found = checked_probabilities(TEST, SCORES, None)
    assert (found.coupons, found.visits) == ((), None) and 0 < found.auc < 1
