"""Worked examples: drawn from all fitting groups, and true to their kind."""

from dataclasses import replace

import numpy as np
import pytest

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from tests.support.ranking_frames import numbered, ranking_frame
from training.data.frame import RankingFrame, take
from training.studies.examples import pick_examples

GROUPS, SIZE = 30, 15
BOUGHT = RANKER_INPUTS.index("purchase_count_all")


def frame(seed: int = 0, redeemed_share: float = 0.1) -> RankingFrame:
    rng = np.random.default_rng(seed)
    return ranking_frame(
        numbered("q", GROUPS, SIZE),
        rng.random(GROUPS * SIZE) < redeemed_share,
        user_id=numbered("u", GROUPS, SIZE),
        purchase_count_all=np.repeat(rng.integers(0, 900, GROUPS), SIZE),
    )


FRAME = frame()
SCORES = np.random.default_rng(1).random(len(FRAME))


@pytest.mark.parametrize("seed", range(5))
def test_each_example_is_of_its_kind(seed):
    hit, miss, short = pick_examples(FRAME, SCORES, seed)
    assert FRAME.label[hit.rows[0]] == 1 and hit.first_redeemed == 1
    assert not FRAME.label[miss.rows[:10]].any() and FRAME.label[miss.rows].any()
    assert FRAME.inputs[short.rows[0], BOUGHT] < 100
    for one in (hit, miss, short):
        assert (np.diff(SCORES[one.rows]) <= 0).all()
        assert FRAME.label[one.rows[one.first_redeemed - 1]] == 1
        assert not FRAME.label[one.rows[: one.first_redeemed - 1]].any()
        assert one.ranks == tuple(sorted({1, 2, 3, one.first_redeemed}))
    assert len({FRAME.qid[one.rows[0]] for one in (hit, miss, short)}) == 3


def test_examples_depend_on_the_seed_and_repeat_with_it():
    drawn = {tuple(FRAME.qid[e.rows[0]] for e in pick_examples(FRAME, SCORES, s)) for s in range(9)}
    assert len(drawn) > 1
    again = [pick_examples(FRAME, SCORES, 4)[1].rows for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_nearest_group_is_drawn_if_there_is_no_miss_or_short_history():
    inputs = FRAME.inputs + 500
    long_histories = replace(FRAME, inputs=inputs)
    hit, miss, short = pick_examples(long_histories, FRAME.label.astype(float), 0)
    assert miss.first_redeemed == 1
    left = FRAME.label.reshape(GROUPS, SIZE).any(axis=1)
    left &= ~np.isin(FRAME.qid[::SIZE], [FRAME.qid[one.rows[0]] for one in (hit, miss)])
    least = inputs[::SIZE, BOUGHT][left].min()
    assert inputs[short.rows[0], BOUGHT] == least


def test_fewer_groups_give_fewer_examples_and_no_redemption_gives_none():
    first = take(FRAME, np.arange(len(FRAME)) < SIZE)
    only = replace(first, label=(np.arange(SIZE) > 0).astype(np.int8))
    assert len(pick_examples(only, SCORES[:SIZE], 0)) == 1
    for without_order in (np.zeros(SIZE, np.int8), np.ones(SIZE, np.int8)):
        assert pick_examples(replace(only, label=without_order), SCORES[:SIZE], 0) == ()
