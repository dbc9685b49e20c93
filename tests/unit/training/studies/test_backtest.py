"""The rolling backtest over visits: what each model learned from, and what is kept."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.instants import DAY
from tests.support.visit_frames import MAY, visits, with_labels
from training.data.frame import RankingFrame, concatenated, group_starts, take
from training.data.sample import Sample
from training.data.split import settled_before
from training.evaluation.compare import RANKER
from training.evaluation.group_metrics import ndcg, ranked
from training.evaluation.orders import groups_with_order, rows_with_order, without_order
from training.models.probability import fit_calibration
from training.studies.backtest import (
    CALIBRATION_DAYS,
    MONTHLY,
    WEEK_LATE,
    BacktestError,
    Contender,
    backtest,
    planned,
)
from training.studies.backtest_scores import between
from training.studies.periods import WEEK, monthly, weekly
from training.studies.training_pool import sampled

DAYS = 120
FRAME = visits(3_600, DAYS)
FIRST, UNTIL = MAY + 40 * DAY, MAY + DAYS * DAY
ALL = Sample(1.0, 1)


class Recorder:
    """A fake model: it scores by spend times its start, and keeps what it was fitted on."""

    def __init__(self) -> None:
        self.known: dict[int, set[tuple[str, str]]] = {}
        self.weights: dict[int, dict[str, float]] = {}

    def __call__(self, known: Sequence[RankingFrame], start: int):
        whole = concatenated(*known)
        self.known[start] = set(zip(whole.qid, whole.coupon_id, strict=True))
        self.weights[start] = dict(zip(whole.qid, whole.weight.tolist(), strict=True))
        return lambda frame: frame.inputs[:, SPEND] + float((start - MAY) // DAY)


SPEND = int(np.flatnonzero(FRAME.inputs[0] == visits(1, 1, seed=0).inputs[0])[0])


def test_test_that_ends_before_it_starts_is_refused():
    for until in (FIRST, FIRST - DAY):
        with pytest.raises(BacktestError, match="visits to test from .*choose an earlier start"):
            planned({RANKER: spend}, FIRST, until)


def spend(known, start):
    return lambda frame: frame.inputs[:, SPEND]


def blocks(frame: RankingFrame, count: int, ranker: str = "home"):
    """Cuts a frame into ``count`` blocks of whole visits."""
    number = np.searchsorted(group_starts(frame.qid), np.arange(len(frame)), side="right") - 1
    for groups in np.array_split(np.unique(number), count):
        yield ranker, take(frame, np.isin(number, groups))


def run(frame=FRAME, count=17, sample=ALL, fit=spend, models=None, **arguments):
    contenders = planned({RANKER: fit}, FIRST, UNTIL) | (models or {})
    return backtest(blocks(frame, count), {"home": contenders}, sample, **arguments)["home"]


def pairs(frame: RankingFrame, mask: np.ndarray) -> set[tuple[str, str]]:
    return set(zip(frame.qid[mask], frame.coupon_id[mask], strict=True))


def settled(cutoff: int) -> np.ndarray:
    return (FRAME.as_of < cutoff) & settled_before(FRAME, cutoff)


def test_model_of_each_period_learns_from_all_that_was_settled_before_its_start():
    recorder = Recorder()
    run(fit=recorder)
    starts = {*weekly(FIRST, UNTIL), *monthly(FIRST, UNTIL)}
    assert set(recorder.known) == starts | {FIRST - WEEK}
    for start, known in recorder.known.items():
        assert known == pairs(FRAME, settled(start)), start


def test_monthly_weekly_and_late_models_score_the_same_visits_with_their_own_fits():
    found = run(fit=Recorder()).ordered
    frame = found.frame

    def latest(starts):
        return np.array([max(s for s in starts if s <= t) for t in frame.as_of])

    week, month = latest(weekly(FIRST, UNTIL)), latest(monthly(FIRST, UNTIL))
    expected = {RANKER: week, WEEK_LATE: week - WEEK, MONTHLY: month}
    assert set(found.scores) == set(expected)
    for name, start in expected.items():
        added = found.scores[name] - frame.inputs[:, SPEND]
        np.testing.assert_allclose(added, (start - MAY) // DAY, atol=1e-3, err_msg=name)
    assert (found.fold == week).all()


@pytest.mark.parametrize("count", [1, 5, 400])
def test_number_of_blocks_changes_nothing(count):
    expected, found = run(), run(count=count)
    np.testing.assert_array_equal(found.ordered.frame.qid, expected.ordered.frame.qid)
    for name, scores in expected.ordered.scores.items():
        np.testing.assert_array_equal(found.ordered.scores[name], scores)
        np.testing.assert_array_equal(found.later.values[name], expected.later.values[name])
    np.testing.assert_array_equal(found.visits.probability, expected.visits.probability)


def test_every_tested_visit_with_an_order_has_scores_and_no_other():
    found = run()
    tested = take(FRAME, FRAME.as_of >= FIRST)
    ordered = take(tested, rows_with_order(tested.qid, tested.label))
    np.testing.assert_array_equal(found.ordered.frame.qid, ordered.qid)
    np.testing.assert_array_equal(found.ordered.frame.coupon_id, ordered.coupon_id)
    assert found.visits.without_order == without_order(tested.qid, tested.label)
    assert len(found.visits) == len(group_starts(tested.qid))
    assert found.visits.redeemed.sum() == tested.label.sum()


def test_later_redemptions_have_the_metric_of_their_own_groups():
    found = run().later
    tested = take(FRAME, FRAME.as_of >= FIRST)
    expected = ndcg(ranked(tested.qid, tested.coupon_id, tested.later, tested.inputs[:, SPEND]), 10)
    counted = groups_with_order(tested.qid, tested.later)
    np.testing.assert_allclose(found.values[RANKER], expected[counted])
    np.testing.assert_array_equal(found.user_id, tested.user_id[group_starts(tested.qid)][counted])


def test_sink_gets_the_visits_with_an_order_under_either_label():
    seen = defaultdict(list)

    def sink(ranker, frame, scores, folds):
        assert ranker == "home" and set(folds) == set(scores) == {RANKER, MONTHLY, WEEK_LATE}
        assert {len(one) for one in scores.values()} == {len(frame)}
        assert (frame.as_of >= folds[RANKER]).all()
        seen["qid"] += frame.qid.tolist()

    run(sink=sink)
    tested = take(FRAME, FRAME.as_of >= FIRST)
    either = rows_with_order(tested.qid, tested.label) | rows_with_order(tested.qid, tested.later)
    assert seen["qid"] == tested.qid[either].tolist()


def test_training_keeps_all_redemptions_and_a_weighted_sample_of_the_other_visits():
    recorder, sample = Recorder(), Sample(0.2, 5)
    run(fit=recorder, sample=sample)
    last = max(recorder.known)
    rows, _ = sampled(FRAME, sample)
    assert recorder.known[last] == pairs(FRAME, settled(last) & rows)
    redeemed = set(FRAME.qid[FRAME.label > 0])
    weights = recorder.weights[last]
    assert {weights[qid] for qid in weights if qid in redeemed} == {1.0}
    others = [weight for qid, weight in weights.items() if qid not in redeemed]
    assert set(others) == {5.0}
    whole = len(set(FRAME.qid[settled(last)]) - redeemed)
    assert sum(others) == pytest.approx(whole, rel=0.1)


def test_outcomes_from_a_period_on_change_no_score_of_it():
    """Inverts all outcomes that become known at the start of a week or later."""
    start = weekly(FIRST, UNTIL)[3]
    unknown = (FRAME.as_of // DAY + 1) * DAY >= start
    inverted = with_labels(FRAME, np.where(unknown, 1 - FRAME.label, FRAME.label))

    def learned(known, begin):
        whole = concatenated(*known)
        mean = whole.inputs[whole.label > 0, SPEND].mean()
        return lambda frame: -np.abs(frame.inputs[:, SPEND] - mean)

    seen = []
    for frame in (FRAME, inverted):
        scores = {}

        def sink(ranker, part, by_model, folds, scores=scores):
            if folds[RANKER] == start:
                for name, values in by_model.items():
                    keys = zip(part.qid, part.coupon_id, strict=True)
                    scores.update({(name, *key): v for key, v in zip(keys, values, strict=True)})

        found = run(frame, fit=learned, sink=sink)
        week = (found.visits.as_of >= start) & (found.visits.as_of < start + WEEK)
        seen.append((scores, found.visits.probability[week], found.visits.expected[week]))
    shared = set(seen[0][0]) & set(seen[1][0])
    assert len(shared) > 500
    assert all(seen[0][0][key] == seen[1][0][key] for key in shared)
    np.testing.assert_array_equal(seen[0][1], seen[1][1])
    np.testing.assert_array_equal(seen[0][2], seen[1][2])


def test_probabilities_are_calibrated_on_the_scored_visits_before_the_period():
    found = run().visits
    start = weekly(FIRST, UNTIL)[10]
    window = FRAME.as_of >= start - CALIBRATION_DAYS * DAY
    assert start - CALIBRATION_DAYS * DAY > FIRST
    known = take(FRAME, window & (FRAME.open_until <= start))
    calibration = fit_calibration(known, known.inputs[:, SPEND])
    week = take(FRAME, (FRAME.as_of >= start) & (FRAME.as_of < start + WEEK))
    coupons, expected = calibration.of_requests(
        week.inputs[:, SPEND], week.inputs, group_starts(week.qid)
    )
    here = (found.as_of >= start) & (found.as_of < start + WEEK)
    np.testing.assert_allclose(found.probability[here], expected)
    np.testing.assert_allclose(
        found.expected[here], np.add.reduceat(coupons, group_starts(week.qid))
    )
    first = found.as_of < FIRST + WEEK
    assert (
        np.isnan(found.probability[first]).all() and not np.isnan(found.probability[~first]).any()
    )


def test_both_rankers_run_in_one_pass_with_their_own_visits():
    other = visits(2_000, DAYS, seed=9)
    both = [
        one
        for pair in zip(blocks(FRAME, 12), blocks(other, 12, "checkout"), strict=True)
        for one in pair
    ]
    contenders = planned({RANKER: spend}, FIRST, UNTIL)
    found = backtest(iter(both), {"home": contenders, "checkout": contenders}, ALL)
    for ranker, frame in (("home", FRAME), ("checkout", other)):
        alone = backtest(blocks(frame, 3, ranker), {ranker: contenders}, ALL)[ranker]
        assert found[ranker].ranker == ranker
        np.testing.assert_array_equal(found[ranker].ordered.frame.qid, alone.ordered.frame.qid)
        np.testing.assert_array_equal(found[ranker].visits.as_of, alone.visits.as_of)


def test_exposures_are_scored_by_the_models_of_their_time_and_not_learned_from():
    exposures = take(FRAME, FRAME.as_of >= FIRST - 3 * DAY)
    recorder = Recorder()
    found = run(fit=recorder, exposures={"home": exposures}).exposures
    np.testing.assert_array_equal(found.frame.qid, exposures.qid[exposures.as_of >= FIRST])
    week = np.array([max(s for s in weekly(FIRST, UNTIL) if s <= t) for t in found.frame.as_of])
    added = found.scores[RANKER] - found.frame.inputs[:, SPEND]
    np.testing.assert_allclose(added, (week - MAY) // DAY, atol=1e-3)
    assert recorder.known[max(recorder.known)] == pairs(FRAME, settled(max(recorder.known)))


def test_part_of_the_time_has_only_its_visits():
    found, middle = run(exposures={"home": FRAME}), FIRST + 30 * DAY
    early, late = between(found, FIRST, middle), between(found, middle, UNTIL)
    for part, inside in ((early, lambda t: t < middle), (late, lambda t: t >= middle)):
        for as_of in (
            part.ordered.frame.as_of,
            part.later.as_of,
            part.visits.as_of,
            part.exposures.frame.as_of,
        ):
            assert len(as_of) and inside(as_of).all()
    assert len(early.visits) + len(late.visits) == len(found.visits)
    assert len(early.later.values[RANKER]) + len(late.later.values[RANKER]) == len(
        found.later.values[RANKER]
    )


def test_model_that_cannot_be_fitted_is_left_out_and_the_tested_one_never():
    def wordless(known, start):
        if start > FIRST:
            raise ValueError("empty vocabulary\nand more")
        return lambda frame: np.zeros(len(frame))

    models = {"content": Contender(wordless, monthly(FIRST, UNTIL), "content_late")}
    found = run(models=models).ordered
    assert set(found.scores) == {RANKER, MONTHLY, WEEK_LATE}
    assert found.left_out == dict.fromkeys(("content", "content_late"), "empty vocabulary")
    with pytest.raises(ValueError, match="empty vocabulary"):
        run(fit=wordless)


def test_other_models_are_fitted_every_month():
    recorder = Recorder()
    contenders = {"home": planned({RANKER: spend, "forest": recorder}, FIRST, UNTIL)}
    found = backtest(blocks(FRAME, 9), contenders, ALL)["home"].ordered
    assert tuple(recorder.known) == monthly(FIRST, UNTIL)
    assert set(found.scores) == {RANKER, WEEK_LATE, MONTHLY, "forest"}


def test_blocks_out_of_order_are_refused():
    middle, contenders = FIRST + 2 * WEEK, {"home": planned({RANKER: spend}, FIRST, UNTIL)}
    late, early = (take(FRAME, mask) for mask in (FRAME.as_of >= middle, FRAME.as_of < middle))
    with pytest.raises(BacktestError, match="home in order of time, got visits before 2017-08"):
        backtest([("home", early), ("home", late), ("home", early)], contenders, ALL)


def test_block_of_a_ranker_without_contenders_is_refused():
    with pytest.raises(BacktestError, match="Expected blocks of home, got one of 'checkout'"):
        contenders = {"home": planned({RANKER: spend}, FIRST, UNTIL)}
        backtest(blocks(FRAME, 2, "checkout"), contenders, ALL)


def test_contenders_with_different_first_periods_are_refused():
    models = {"late": Contender(spend, (FIRST + DAY,))}
    with pytest.raises(BacktestError, match="one first period for all contenders of home, got 2"):
        run(models=models)
    with pytest.raises(BacktestError, match="Expected a contender 'ranker' of home"):
        backtest([], {"home": models}, ALL)
    with pytest.raises(BacktestError, match="at least two periods of ranker"):
        backtest([], {"home": {RANKER: Contender(spend, (FIRST,), WEEK_LATE)}}, ALL)


def test_tested_visits_without_an_order_are_refused():
    bare = with_labels(FRAME, np.where(FRAME.as_of < FIRST, FRAME.label, 0))
    with pytest.raises(BacktestError, match="tested visits of home with redeemed and unredeemed"):
        run(bare)


def test_past_without_a_known_redemption_is_refused():
    bare = with_labels(FRAME, np.where(FRAME.as_of >= FIRST, FRAME.label, 0))
    with pytest.raises(BacktestError, match="redemptions known before 2017-06-10T00:00:00"):
        run(bare)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.floats(0.05, 1.0), st.integers(1, 6))
def test_sample_does_not_depend_on_the_blocks_and_keeps_every_redemption(seed, share, count):
    frame, sample = visits(200, 30, seed=seed % 7), Sample(share, seed)
    rows, kept = sampled(frame, sample)
    parts = [sampled(block, sample)[1] for _, block in blocks(frame, count)]
    np.testing.assert_array_equal(concatenated(*parts).qid, kept.qid)
    np.testing.assert_array_equal(concatenated(*parts).weight, kept.weight)
    assert set(frame.qid[frame.label > 0]) <= set(kept.qid)
    assert rows.sum() == len(kept)


def test_share_of_zero_is_refused():
    with pytest.raises(ValueError, match="share above 0 and at most 1, got 0"):
        Sample(0, 1)
