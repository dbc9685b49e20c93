"""The search for settings, on folds with a planted signal."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.support.signal_frames import frame
from training.evaluation import group_metrics
from training.models.ranker import RankerConfig, RankerError, fit, predict
from training.studies.hyperparameters import STARTUP, search
from training.studies.periods import Fold

CURRENT = RankerConfig(n_estimators=50, learning_rate=0.01, min_child_weight=20.0, nthread=1)


FOLDS = [Fold(start, frame(start, 60), frame(start + 100, 20)) for start in (1, 2, 3)]


@pytest.fixture(scope="module")
def attempts():
    return search(FOLDS, CURRENT, trials=STARTUP + 20)


def test_current_settings_are_the_first_attempt(attempts):
    [first] = [one for one in attempts if one.number == 0]
    assert first.config == CURRENT and not first.pruned


def test_value_is_the_mean_over_all_groups_of_all_folds(attempts):
    [first] = [one for one in attempts if one.number == 0]
    by_group = []
    for fold in FOLDS:
        test = fold.test
        scores = predict(fit([fold.train], CURRENT), test.inputs, "home")
        ranking = group_metrics.ranked(test.qid, test.coupon_id, test.label, scores)
        by_group.append(group_metrics.ndcg(ranking, 10))
    assert first.value == group_metrics.mean(np.concatenate(by_group))
    assert first.by_fold == tuple(map(group_metrics.mean, by_group))


def test_better_settings_are_found_and_listed_first(attempts):
    [first] = [one for one in attempts if one.number == 0]
    assert attempts[0].value > first.value + 0.1
    whole = [one.value for one in attempts if not one.pruned]
    assert whole == sorted(whole, reverse=True)


def test_attempts_below_the_median_are_pruned_and_listed_last(attempts):
    pruned = [one.pruned for one in attempts]
    assert any(pruned) and pruned == sorted(pruned)
    assert all(len(one.by_fold) < len(FOLDS) for one in attempts if one.pruned)
    assert all(len(one.by_fold) == len(FOLDS) for one in attempts if not one.pruned)


def test_same_seed_and_budget_try_the_same_settings(attempts):
    again = search(FOLDS, CURRENT, trials=4)
    first = {one.number: asdict(one.config) for one in attempts}
    assert {one.number: asdict(one.config) for one in again} == {n: first[n] for n in range(4)}


def test_callback_gets_every_attempt():
    numbers = []
    search(FOLDS[:1], CURRENT, 2, lambda one: numbers.append(one.number))
    assert numbers == [0, 1]


def test_fold_without_a_redemption_is_left_out():
    first = FOLDS[0].test
    nothing = replace(FOLDS[0], test=replace(first, label=np.zeros_like(first.label)))
    found = search([nothing, *FOLDS[1:]], CURRENT, trials=STARTUP + 4)
    assert sum(not one.pruned for one in found) > STARTUP
    assert np.isfinite([one.value for one in found]).all()
    with pytest.raises(RankerError, match="none in 1 folds: search on a longer"):
        search([nothing], CURRENT, trials=1)
