"""Folds by campaign: the training and the test data of each fold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from tests.support.ranking_frames import ranking_frame
from training.data.frame import NEVER, RankingFrame, take
from training.studies.backtest import BacktestError
from training.studies.campaign_folds import backtest, check_parts, fold_at, origins

SPRING, SUMMER, FALL = 100, 200, 300


def frame(*pairs: tuple) -> RankingFrame:
    """Builds pairs from (exposure, campaign, as_of, open_until, learned), one coupon each."""
    qid, campaign, as_of, until, learned = (list(values) for values in zip(*pairs, strict=True))
    return ranking_frame(
        qid,
        np.array(learned) < NEVER,
        campaign_id=campaign,
        coupon_id=[f"k{row}" for row in range(len(pairs))],
        as_of=as_of,
        open_until=until,
        learned=learned,
        inputs=np.arange(len(pairs) * len(RANKER_INPUTS), dtype=np.float32).reshape(len(pairs), -1),
    )


YEAR = frame(
    ("a", "spring", SPRING, 150, 120),
    ("a", "spring", SPRING, 150, NEVER),
    ("b", "spring", SPRING + 5, 250, 140),
    ("b", "spring", SPRING + 5, 250, NEVER),
    ("c", "spring", SPRING + 5, 150, SUMMER),
    ("d", "summer", SUMMER, 320, 310),
    ("d", "summer", SUMMER, 320, NEVER),
    ("e", "fall", FALL, 400, NEVER),
)


NOTHING = take(YEAR, np.zeros(len(YEAR), bool))


def coupons(part: RankingFrame) -> list[str]:
    return part.coupon_id.tolist()


def test_campaign_starts_when_it_reaches_its_first_user():
    assert origins(YEAR, 0) == [SPRING, SUMMER, FALL]
    assert origins(YEAR, SPRING + 1) == [SUMMER, FALL]


def test_fold_learns_only_from_outcomes_final_and_known_before_its_start():
    fold = fold_at(YEAR, SUMMER)
    assert coupons(fold.train) == ["k0", "k1", "k2"]
    assert (fold.train.label == [1, 0, 1]).all()
    assert coupons(fold.test) == ["k5", "k6"]


def test_coupon_that_is_still_open_is_left_out_of_training():
    assert "k3" not in coupons(fold_at(YEAR, SUMMER).train)
    assert "k3" in coupons(fold_at(YEAR, FALL).train)


def test_every_campaign_is_scored_once_by_every_model_from_its_own_fold():
    seen = []

    def start_of(known, start):
        seen.append(start)
        return lambda frame: np.full(len(frame), float(start))

    models = {"one": start_of, "two": lambda known, start: lambda frame: frame.inputs[:, 0]}
    scored, _ = backtest(YEAR, NOTHING, SUMMER, models)
    assert seen == [SUMMER, FALL]
    assert coupons(scored.frame) == ["k5", "k6", "k7"]
    assert scored.fold.tolist() == scored.scores["one"].tolist() == [SUMMER, SUMMER, FALL]
    assert (scored.scores["two"] == scored.frame.inputs[:, 0]).all()


def test_requests_are_scored_by_the_latest_fold_before_them():
    requests = frame(
        ("too early", "spring", SUMMER - 1, 999, NEVER),
        ("r1", "spring", SUMMER, 999, NEVER),
        ("r1", "summer", SUMMER, 999, NEVER),
        ("r2", "summer", FALL - 1, 999, NEVER),
        ("r3", "summer", FALL + 9, 999, NEVER),
    )
    starts = {"one": lambda known, start: lambda frame: np.full(len(frame), float(start))}
    scored, by_request = backtest(YEAR, requests, SUMMER, starts)
    assert by_request.frame.qid.tolist() == ["r1", "r1", "r2", "r3"]
    assert by_request.scores["one"].tolist() == by_request.fold.tolist() == [SUMMER] * 3 + [FALL]
    assert len(scored.frame) == 3


def test_backtest_without_a_campaign_is_refused():
    with pytest.raises(BacktestError, match="none in 8 pairs: choose an earlier start"):
        backtest(YEAR, NOTHING, FALL + 1, {})


def test_backtest_of_campaigns_without_a_redemption_is_refused():
    with pytest.raises(BacktestError, match="redemptions in .*got none in 1 folds: choose"):
        backtest(YEAR, NOTHING, FALL, {})


@pytest.mark.parametrize(
    ("frozen_from", "why"),
    [(SPRING, "none before"), (FALL, "none from then on"), (FALL + 1, "none from then on")],
)
def test_parts_need_a_redemption_on_both_sides(frozen_from, why):
    starts = origins(YEAR, SPRING)
    check_parts(YEAR, starts, SUMMER)
    with pytest.raises(BacktestError, match=f"redeemed coupons in campaigns .* got {why}"):
        check_parts(YEAR, starts, frozen_from)


def test_model_that_cannot_learn_from_one_fold_is_left_out_and_the_tested_one_never():
    def wordless(known, start):
        if start == FALL:
            raise ValueError("empty vocabulary\nand more")
        return lambda frame: np.zeros(len(frame))

    ones = lambda known, start: lambda frame: np.ones(len(frame))  # noqa: E731
    models = {"ranker": ones, "content": wordless}
    scored, by_request = backtest(YEAR, NOTHING, SUMMER, models)
    for one in (scored, by_request):
        assert set(one.scores) == {"ranker"} and one.left_out == {"content": "empty vocabulary"}
    with pytest.raises(ValueError, match="empty vocabulary"):
        backtest(YEAR, NOTHING, SUMMER, dict(reversed(models.items())))


def test_fold_without_a_known_redemption_is_refused():
    with pytest.raises(BacktestError, match="known before 1970-01-01T00:00:00.000100"):
        backtest(YEAR, NOTHING, SPRING, {})


moments = st.integers(0, 30)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), moments, moments, st.one_of(moments, st.just(NEVER))),
        min_size=1,
        max_size=12,
    )
)
def test_no_fold_learns_from_its_own_future(rows):
    pairs = [(f"q{n}", campaign, *rest) for n, (campaign, *rest) in enumerate(rows)]
    year = frame(*pairs)
    tested = []
    for start in origins(year, 0):
        fold = fold_at(year, start)
        assert (fold.train.as_of < start).all()
        settled = np.where(fold.train.label > 0, fold.train.learned < start, True)
        closed = np.where(fold.train.label > 0, True, fold.train.open_until <= start)
        assert (settled & closed).all()
        assert not set(fold.train.qid) & set(fold.test.qid)
        tested += coupons(fold.test)
    assert sorted(tested) == sorted(coupons(year))
