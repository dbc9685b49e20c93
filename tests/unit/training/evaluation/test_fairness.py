"""Gaps between groups of households, by definition and with a planted gap."""

import numpy as np
import pytest

from tests.support.ranking_frames import numbered, ranking_frame
from training.data.frame import RankingFrame
from training.evaluation import fairness, group_metrics

GROUPS, SIZE = 400, 4
YOUNG = np.arange(GROUPS) % 2 == 0


def frame() -> RankingFrame:
    """Builds groups that redeemed their first coupon; each user has two groups and one age."""
    users = np.array([f"u{n % 2}-{n // 4}" for n in range(GROUPS)], object)
    return ranking_frame(
        numbered("q", GROUPS, SIZE), [1, 0, 0, 0] * GROUPS, user_id=np.repeat(users, SIZE)
    )


FRAME = frame()
CHANCE = np.random.default_rng(0).random(len(FRAME))
PERFECT = FRAME.label.astype(float)
ONLY_FOR_YOUNG = np.where(np.repeat(YOUNG, SIZE), PERFECT, CHANCE)
AGES = np.where(YOUNG, "under 45", "45 and over").astype(object)


def slicings(**changes) -> dict:
    unknown = np.full(GROUPS, "unknown", object)
    return {"age": AGES, "income": unknown, "children": unknown, "history": AGES} | changes


def test_gap_is_the_difference_of_the_two_means():
    (gap,) = fairness.gaps(FRAME, ONLY_FOR_YOUNG, CHANCE, slicings())
    values = [
        group_metrics.ndcg(
            group_metrics.ranked(FRAME.qid, FRAME.coupon_id, FRAME.label, scores), 10
        )
        for scores in (ONLY_FOR_YOUNG, CHANCE)
    ]
    expected = [one[~YOUNG].mean() - one[YOUNG].mean() for one in values]
    assert (gap.slicing, gap.parts, gap.groups) == ("age", ("45 and over", "under 45"), (200, 200))
    assert [gap.ranker, gap.other] == pytest.approx(expected)
    assert gap.widened == pytest.approx(expected[0] - expected[1])


def test_planted_gap_is_significant_and_no_gap_is_not():
    (planted,) = fairness.gaps(FRAME, ONLY_FOR_YOUNG, CHANCE, slicings())
    assert planted.ranker_interval[1] < 0 and planted.widened_interval[1] < 0
    assert planted.other_interval[0] < 0 < planted.other_interval[1]
    (none,) = fairness.gaps(FRAME, CHANCE, CHANCE, slicings())
    assert none.widened == 0 and none.widened_interval == (0, 0)


def test_interval_agrees_with_the_normal_approximation():
    (gap,) = fairness.gaps(FRAME, CHANCE, PERFECT, slicings())
    ranking = group_metrics.ranked(FRAME.qid, FRAME.coupon_id, FRAME.label, CHANCE)
    values = group_metrics.ndcg(ranking, 10)
    users = FRAME.user_id[::SIZE]
    by_user = {user: values[users == user].mean() for user in set(users)}
    sides = [[v for u, v in by_user.items() if u.startswith(side)] for side in ("u1", "u0")]
    reach = 1.96 * np.sqrt(sum(np.var(side) / len(side) for side in sides))
    expected = (gap.ranker - reach, gap.ranker + reach)
    assert gap.ranker_interval == pytest.approx(expected, abs=0.15 * reach)


def test_only_demographics_with_two_known_groups_have_a_gap():
    few_known = np.where(np.arange(GROUPS) < 100, AGES, "unknown").astype(object)
    one_part = np.full(GROUPS, "none", object)
    found = fairness.gaps(FRAME, CHANCE, PERFECT, slicings(income=few_known, children=one_part))
    assert [gap.slicing for gap in found] == ["age", "income"]
    assert found[1].groups == (50, 50)
