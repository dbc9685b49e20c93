"""The search for settings, on folds whose best settings are known."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.support.signal_frames import frame
from training.evaluation import group_metrics
from training.models.ranker import RankerConfig, RankerError, fit, predict
from training.studies.backtest import Fold
from training.studies.hyperparameters import STARTUP, search

PRESENT = RankerConfig(n_estimators=50, learning_rate=0.01, min_child_weight=20.0, nthread=1)


FOLDS = [Fold(start, ("c",), frame(start, 60), frame(start + 100, 20)) for start in (1, 2, 3)]


@pytest.fixture(scope="module")
def attempts():
    return search(FOLDS, PRESENT, trials=STARTUP + 20)


def test_present_settings_are_the_first_attempt(attempts):
    [first] = [one for one in attempts if one.number == 0]
    assert first.config == PRESENT and not first.pruned


def test_value_is_the_mean_over_all_groups_of_all_folds(attempts):
    [first] = [one for one in attempts if one.number == 0]
    by_group = []
    for fold in FOLDS:
        test = fold.test
        scores = predict(fit([fold.train], PRESENT), test.inputs)
        ranking = group_metrics.ranked(test.qid, test.coupon_id, test.label, scores)
        by_group.append(group_metrics.ndcg(ranking, 10))
    assert first.value == group_metrics.mean(np.concatenate(by_group))
    assert first.by_fold == tuple(map(group_metrics.mean, by_group))


def test_better_settings_are_found_and_come_first(attempts):
    [first] = [one for one in attempts if one.number == 0]
    assert attempts[0].value > first.value + 0.1
    whole = [one.value for one in attempts if not one.pruned]
    assert whole == sorted(whole, reverse=True)


def test_attempts_below_the_median_are_given_up_and_come_last(attempts):
    pruned = [one.pruned for one in attempts]
    assert any(pruned) and pruned == sorted(pruned)
    assert all(len(one.by_fold) < len(FOLDS) for one in attempts if one.pruned)
    assert all(len(one.by_fold) == len(FOLDS) for one in attempts if not one.pruned)


def test_same_seed_and_budget_try_the_same_settings(attempts):
    again = search(FOLDS, PRESENT, trials=4)
    known = {one.number: asdict(one.config) for one in attempts}
    assert {one.number: asdict(one.config) for one in again} == {n: known[n] for n in range(4)}


def test_every_attempt_is_heard_of_as_it_ends():
    heard = []
    search(FOLDS[:1], PRESENT, 2, lambda one: heard.append(one.number))
    assert heard == [0, 1]


def test_fold_of_which_nothing_was_redeemed_ends_no_attempt():
    first = FOLDS[0].test
    nothing = replace(FOLDS[0], test=replace(first, label=np.zeros_like(first.label)))
    found = search([nothing, *FOLDS[1:]], PRESENT, trials=STARTUP + 4)
    assert sum(not one.pruned for one in found) > STARTUP
    assert np.isfinite([one.value for one in found]).all()
    with pytest.raises(RankerError, match="none in 1 folds: search on a longer"):
        search([nothing], PRESENT, trials=1)
