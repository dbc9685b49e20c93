"""Report contents computed from the test part: slices, probabilities, examples, features."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np

from feature_repo.instants import from_microseconds
from feature_repo.lake.coupon_scopes import CoveredProducts
from feature_repo.transforms.request.reasons import Effects, code_of, reasons
from serving.policy.probability import Calibration
from training.data.frame import RankingFrame, column, groups
from training.evaluation.compare import SliceComparison, compare_slices
from training.evaluation.pair_metrics import calibration_bins, pair_metrics
from training.evaluation.slices import repeat_gains
from training.evaluation.visits import visit_quality
from training.report.contents import ExampleCoupon, Feature, ProbabilityCheck, WorkedExample
from training.studies.examples import Example, pick_examples

ReadProducts = Callable[[str, list[str], datetime], Mapping[str, CoveredProducts]]
"""Reads the products that coupons cover, by coupon: user id, coupon ids, as of."""


def repeat_slices(
    test: RankingFrame, scores: np.ndarray, opponent: str, other_scores: np.ndarray
) -> list[SliceComparison]:
    """Compares two models on redeemed coupons that repeat a purchase, and on those that do not.

    ``scores`` and ``other_scores`` have one value for each pair.
    """
    found: list[SliceComparison] = []
    for kind, label in repeat_gains(test).items():
        slicing = {"redeemed coupon": np.full(len(groups(test)), kind, object)}
        gains = replace(test, label=label)
        found += compare_slices(gains, scores, opponent, other_scores, slicing)
    return found


def checked_probabilities(
    test: RankingFrame, scores: np.ndarray, calibration: Calibration | None
) -> ProbabilityCheck:
    """Checks the version's probabilities of coupons and lists on the test.

    The calibration must come from visits outside of the test.
    """
    of_scores = pair_metrics(test.label, scores)
    if calibration is None:
        return ProbabilityCheck((), **of_scores, visits=None)
    starts = groups(test)
    redeemed = np.add.reduceat((test.label > 0).astype(np.int64), starts)
    of_coupons, of_lists = calibration.of_requests(scores, test.inputs, starts)
    return ProbabilityCheck(
        calibration_bins(test.label, of_coupons, weight=test.weight),
        **of_scores,
        visits=visit_quality(of_lists, redeemed, test.weight[starts]),
    )


def worked_examples(
    test: RankingFrame,
    scores: np.ndarray,
    explain: Callable[[np.ndarray], Effects],
    covered_products: ReadProducts,
    seed: int,
) -> list[WorkedExample]:
    """Picks example visits by the seed, and adds reasons and product names to their coupons."""
    return [
        _worked(test, scores, explain, covered_products, one)
        for one in pick_examples(test, scores, seed)
    ]


def _worked(
    test: RankingFrame,
    scores: np.ndarray,
    explain: Callable[[np.ndarray], Effects],
    covered_products: ReadProducts,
    example: Example,
) -> WorkedExample:
    rows = example.rows[np.array(example.ranks) - 1]
    user, when = test.user_id[rows[0]], from_microseconds(test.as_of[rows[0]])
    names = covered_products(user, test.coupon_id[rows].tolist(), when)
    effects = explain(test.inputs[rows]).by_input
    coupons = [
        ExampleCoupon(
            rank,
            test.coupon_id[row],
            coupon_name(names.get(test.coupon_id[row])),
            float(scores[row]),
            bool(test.label[row] > 0),
            reasons(test.inputs[row], by_input),
        )
        for rank, row, by_input in zip(example.ranks, rows, effects, strict=True)
    ]
    bought = np.nan_to_num(column(test, "purchase_count_all")[rows[0]])
    return WorkedExample(
        example.kind,
        user,
        tuple(sorted(set(test.campaign_id[example.rows]))),
        when,
        len(example.rows),
        int(bought),
        example.first_redeemed,
        coupons,
    )


def coupon_name(covers: CoveredProducts | None) -> str:
    """Names a coupon by the products that it covers, the most bought first.

    >>> coupon_name(CoveredProducts(1_200, ["milk", "bread"], []))
    'milk · bread and 1,198 more'
    """
    if covers is None:
        return "Products without a name"
    count, names, _ = covers
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    return f"{' · '.join(names)}{more}"


def feature_table(
    lineage: Mapping[str, tuple[str, str]],
    strength: Mapping[str, float],
    gains: Mapping[str, float],
    rising: str,
) -> list[Feature]:
    """Lists every ranker input with its view, meaning, reason code, influence and gain.

    ``lineage`` maps each input to its view and meaning. ``strength`` is its share of the ranking's
    changes, and ``gains`` its share of the trees' gain. ``rising`` is the run's setting of the
    inputs with a monotone constraint, as text.
    """
    return [
        Feature(
            name,
            view,
            meaning,
            code_of(name),
            f"'{name}'" in rising,
            strength[name],
            gains.get(name, 0.0),
        )
        for name, (view, meaning) in lineage.items()
    ]
