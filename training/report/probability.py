"""The section on probabilities: of a redemption at a visit, and of each coupon."""

from training.evaluation.visits import TOP_SHARE, VisitQuality
from training.report import figures
from training.report.contents import NOT_MEASURED, Report
from training.report.html import details, figure, note, paragraph, section, table
from training.report.svg import Collect

_AXES = (
    "On the dashed line, the prediction is right. Bars are 95% intervals. Both axes have a "
    "square-root scale."
)


def probability(report: Report, collect: Collect) -> str:
    """Builds the section on the probability of the list and of the coupons."""
    found = report.probabilities
    ranked = (
        f"Over all pairs of the test, the scores have an area under the ROC curve of "
        f"{found.auc:.3f} and an average precision of {found.average_precision:.3f}."
    )
    body = [paragraph(ranked)]
    if found.visits is None:
        body.append(note(NOT_MEASURED.format("calibration of its scores to probabilities")))
    else:
        body = [*_visits(found.visits, collect), *_coupons(report, collect), *body]
    return section("probability", "Is it worth showing coupons at this visit?", *body)


def _visits(found: VisitQuality, collect: Collect) -> list[str]:
    about = (
        "The answer has the probability that anything on the list is redeemed at this visit. It "
        "comes from two logistic curves, fitted on visits after the training data and before the "
        "test."
    )
    result = (
        f"At {found.base_rate:.2%} of {found.visits:,} visits something was redeemed; predicted "
        f"were {found.mean_probability:.2%}. The average precision is "
        f"{found.average_precision:.3f}, and chance has {found.base_rate:.3f}. The {TOP_SHARE:.0%} "
        f"of the visits with the highest probability have {found.top_share:.0%} of the redemptions."
    )
    bins = [(one.probability, one.observed, one.visits) for one in found.bins]
    highest = found.bins[-1]
    text = (
        f"Share of visits with a redemption by predicted probability, in {len(bins)} bins. In the "
        f"highest bin {highest.probability:.2%} were predicted and {highest.observed:.2%} observed."
    )
    picture = figures.calibration("visits", text, bins, "share with a redemption")
    head = ["bin", "visits", "predicted", "with a redemption"]
    rows = [
        [str(number), f"{one.visits:,}", f"{one.probability:.2%}", f"{one.observed:.2%}"]
        for number, one in enumerate(found.bins, 1)
    ]
    return [
        paragraph(about),
        paragraph(result),
        figure(collect(picture)),
        note(_AXES),
        details("All numbers", table(head, rows)),
    ]


def _coupons(report: Report, collect: Collect) -> list[str]:
    bins = report.probabilities.coupons
    pairs, highest = sum(count for *_, count in bins), bins[-1]
    text = (
        f"Share of redeemed pairs by predicted probability, in {len(bins)} bins with {pairs:,} "
        f"pairs in total. In the highest bin {highest[0]:.2%} were predicted and {highest[1]:.2%} "
        "were redeemed."
    )
    picture = figures.calibration("coupons", text, bins, "share redeemed")
    return [
        paragraph("The same check for the probability of each coupon:"),
        figure(collect(picture)),
    ]
