import numpy as np
from serving_fakes import WATERMARK, coupon, index_of

from serving.candidates import CandidateIndex
from serving.clock import microseconds
from serving.rules import RULES, Situation, apply_rules

NOW = microseconds(WATERMARK)


def judge(index: CandidateIndex, as_of: int = NOW, redeemed: dict | None = None):
    rows, removed = apply_rules(Situation(index, as_of, redeemed or {}), np.arange(len(index)))
    return list(index.coupon_id[rows]), removed


def test_valid_to_is_exclusive():
    index = index_of(coupon("a", "1", valid_to_timestamp=NOW))
    assert judge(index, NOW - 1) == (["a"], {})
    assert judge(index, NOW) == ([], {"expired": 1})


def test_valid_from_is_inclusive():
    index = index_of(coupon("a", "1", valid_from_timestamp=NOW))
    assert judge(index, NOW) == (["a"], {})
    assert judge(index, NOW - 1) == ([], {"not_yet_valid": 1})


def test_coupon_is_removed_once_the_user_reached_its_limit():
    index = index_of(coupon("a", "1", per_user_limit=2), coupon("b", "1", per_user_limit=2))
    assert judge(index, redeemed={"a": 2, "b": 1}) == (["b"], {"usage_cap": 1})


def test_coupon_without_a_limit_is_never_capped():
    assert judge(index_of(coupon("a", "1")), redeemed={"a": 50}) == (["a"], {})


def test_redemption_of_a_coupon_outside_the_index_is_ignored():
    assert judge(index_of(coupon("a", "1", per_user_limit=1)), redeemed={"z": 1})[0] == ["a"]


def test_coupon_counts_for_the_first_rule_that_removes_it():
    gone = coupon("a", "1", valid_to_timestamp=NOW, per_user_limit=1)
    assert judge(index_of(gone), redeemed={"a": 1}) == ([], {"expired": 1})


def test_rule_that_removed_nothing_is_not_named():
    assert judge(index_of(coupon("a", "1")))[1] == {}


def test_new_rule_needs_no_change_of_the_caller():
    index = index_of(coupon("a", "1"), coupon("b", "2"))
    rules = {**RULES, "holdout": lambda situation, rows: situation.index.campaign_id[rows] == "2"}
    rows, removed = apply_rules(Situation(index, NOW, {}), np.arange(2), rules)
    assert (list(rows), removed) == ([0], {"holdout": 1})


def test_validity_is_exact_far_beyond_what_a_float_can_tell_apart():
    forever = microseconds(WATERMARK.replace(year=9999)) + 1
    index = index_of(coupon("a", "1", valid_to_timestamp=forever))
    assert judge(index, forever - 1)[0] == ["a"]
    assert judge(index, forever)[0] == []
