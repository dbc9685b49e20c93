"""The reviewer's page: complete, safe and without external files."""

import re
import xml.dom.minidom
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from feature_repo.transforms.request.reasons import CODES, REASON_CODES, Reason
from training.evaluation.compare import (
    LATER,
    Comparison,
    Evaluation,
    LeaderboardEntry,
    SliceComparison,
)
from training.evaluation.fairness import Gap
from training.evaluation.group_metrics import all_metrics, ranked
from training.evaluation.orders import WithoutOrder
from training.evaluation.visits import VisitBin, VisitQuality
from training.registry.promotion_gate import Check, Decision
from training.registry.records import LearningRecord
from training.report.contents import (
    ExampleCoupon,
    Feature,
    Part,
    ProbabilityCheck,
    Report,
    WorkedExample,
)
from training.report.explanation import influence
from training.report.fairness import fairness
from training.report.figures import wilson
from training.report.leaderboard import leaderboard
from training.report.page import Rendered, render
from training.report.performance import learning_curve, slices
from training.report.svg import Picture
from training.studies.influence import Influence
from training.studies.learning_curve import Point

ORDERS = WithoutOrder(2_000, 3, 1_690, 10)  # 297 with an order
EVIL = "<script>alert(1)</script>"
SECTIONS = {
    "gate",
    "others",
    "broad",
    "probability",
    "curve",
    "slices",
    "fairness",
    "influence",
    "examples",
    "model",
    "data",
    "features",
    "limits",
}
FIGURES = {
    "others",
    "broad",
    "visits",
    "coupons",
    "learning_curve",
    "slices",
    "fairness",
    "influence",
}


class _Page(HTMLParser):
    """Collects the text and the tags; fails on a tag that is not closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.bold, self.attributes, self.tags = [], [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] == "b":
            self.bold.append(data)

    def all(self, name):
        return [value for key, value in self.attributes if key == name]


def _influence() -> Influence:
    rng = np.random.default_rng(1)
    shape = (40, len(RANKER_INPUTS))
    strength = dict.fromkeys(RANKER_INPUTS, 0.0) | {"own_purchase_count": 0.75, "days_left": 0.25}
    by_code = dict.fromkeys(dict.fromkeys(CODES), 0.0) | {"own_purchases": 0.75}
    effects = np.zeros(shape)
    effects[:, RANKER_INPUTS.index("own_purchase_count")] = rng.normal(size=40)
    return Influence(effects, rng.random(shape), 4, strength, by_code)


def _report(passed=True) -> Report:
    names = all_metrics(ranked(["q"], ["c"], [1], [1.0]), np.array(["c"]))
    names = (*names, LATER)
    table = {"ranker": dict.fromkeys(names, 0.25), "own_purchases": dict.fromkeys(names, 0.5)}
    table["ranker"]["mrr"] = 0.75
    rule = Comparison("own_purchases", 0.25, 0.5, -0.25, -0.3, -0.2, 297, 200)
    coupon = ExampleCoupon(
        2, "c-1", f"Milk {EVIL}", 1.5, True, [Reason("brand", "Never bought its brand", -0.5)]
    )
    when = datetime(2017, 10, 2, tzinfo=UTC)
    return Report(
        ranker="checkout",
        title="Checkout ranker, version 3",
        facts={"Lake version": "3", "Trained at commit": EVIL},
        settings={"objective": "rank:ndcg", "rising": "('own_purchase_count',)"},
        parts=(
            Part("train", datetime(2017, 1, 2, tzinfo=UTC), when, 9, 1234, 5),
            Part("valid", None, None, 0, 0, 0),
            Part("test", when, when, 300, 9000, 400),
        ),
        decision=Decision((Check("rule", passed, "The ranker is <worse>."),), "no_champion"),
        evaluation=Evaluation(table, rule, None, ORDERS, replace(rule, groups=900)),
        leaderboard=(
            LeaderboardEntry("own_purchases", table["own_purchases"], rule),
            LeaderboardEntry("ranker", table["ranker"], None),
        ),
        opponent="own_purchases",
        broad=(
            SliceComparison("month", "2017-09", 160, replace(rule, groups=160)),
            SliceComparison("month", "2017-10", 108, replace(rule, difference=0.05, high=0.1)),
            SliceComparison("month", "2017-11", 29, replace(rule, groups=29)),
            SliceComparison("campaign", "13", 267, rule),
            SliceComparison("campaign", "18", 30, replace(rule, difference=0.01, high=0.1)),
        ),
        cold_start=SliceComparison("cold start", "start of a campaign", 317, rule),
        slices=(
            SliceComparison("campaign age", "first month", 64, rule),
            SliceComparison("campaign", "only in the other section", 64, rule),
            SliceComparison("history", "cold", 31, replace(rule, low=-0.4)),
            SliceComparison("history", "heavy", 0, None),
        ),
        gaps=(
            Gap("age", ("45 and over", "under 45"), (40, 50), 0.1, (0.0, 0.2), 0.02, (-0.1, 0.1),
                0.08, (0.01, 0.15)),
        ),
        probabilities=ProbabilityCheck(
            [(0.01, 0.02, 500), (0.1, 0.08, 500)],
            0.875,
            0.125,
            VisitQuality(
                4_000, 0, 0.0185, 0.019, 0.318, 0.8,
                (VisitBin(0.002, 0.001, 2_000), VisitBin(0.036, 0.036, 2_000)),
            ),
        ),
        influence=_influence(),
        examples=[
            WorkedExample("miss", "900", ("13", "18"), when, 208, 7, 12, [coupon]),
            WorkedExample("hit", EVIL, (EVIL,), when, 208, 7, 1, [coupon]),
        ],
        features=[
            Feature("own_purchase_count", "at request time", "Number of purchases.",
                    "own_purchases", True, 0.75, 0.5),
            Feature("age_min", "user_demographics", "age_min, in years.", "household", False, 0, 0),
        ],
        learning=LearningRecord(
            (Point(0.125, 0, 10, 30, 0.2), Point(1.0, 0, 80, 240, 0.25)),
            {"content": "empty vocabulary"},
        ),
    )  # fmt: skip


@cache
def rendered() -> Rendered:
    return render(_report())


def _text(html: str) -> str:
    return " ".join(" ".join(_Page(html).text).split())


def _kept(picture: Picture) -> Picture:
    """Stands for the page, which collects the figures of its sections."""
    return picture


def test_page_has_every_section_and_its_links_lead_to_them():
    page = _Page(rendered().html)
    assert set(page.all("id")) >= SECTIONS
    targets = {link.removeprefix("#") for link in page.all("href")}
    assert targets == SECTIONS - {"gate"}


@pytest.mark.parametrize(
    "expected",
    [
        "2017-01-02",
        "1,234",
        "ndcg@10",
        "-0.250",
        "-0.300 to -0.200",
        "297 visits of 200 households",
        "number 2 of 2",
        "content: empty vocabulary",
        "1/8",
        "share of the households, and their redeemed coupons",
        "history: cold (31)",
        "history: heavy",
        "age (+0.080 for 45 and over minus under 45)",
        "curve of 0.875 and an average precision of 0.125",
        "own_purchase_count",
        "A miss: no redeemed coupon among the first 10.",
        "Never bought its brand brand",
        "Household 900, 02 Oct 2017, campaigns 13, 18: 208 candidate coupons, 7 earlier purchases.",
        "at the checkout, with the products in the cart. Measured on 300 visits",
        "; 297 of them have an order.",
        "Coupons that cover a product in the cart come first.",
        "1 of 2 months and 1 of 2 campaigns with at least 30 groups are above own purchases.",
        "the 2 largest campaigns (13, 18) have 100% of the groups.",
        "month: 2017-09 (160)",
        "cold start: start of a campaign 317",
        "campaign age: first month (64)",
        "Without an order are 1,703 of 2,000 groups: 3 with one candidate, 1,690 without a "
        "redemption, 10 with all candidates redeemed.",
        "The difference is -0.250 (-0.300 to -0.200) over 900 visits.",
        "At 1.85% of 4,000 visits something was redeemed; predicted were 1.90%.",
        "average precision is 0.318, and chance has 0.018. The 10% of the visits with the highest "
        "probability have 80% of the redemptions.",
        "later ndcg@10",
        "rank:ndcg",
        "user_demographics: 1 input",
        "Number of purchases.",
        "no number here shows what a coupon causes",
    ],
)
def test_page_shows(expected):
    assert expected in _text(rendered().html)


@pytest.mark.parametrize(("passed", "verdict"), [(True, "Gate passed"), (False, "Gate not passed")])
def test_page_shows_the_decision_of_the_gate_and_its_reasons(passed, verdict):
    page = _Page((rendered() if passed else render(_report(passed))).html)
    assert verdict in page.text
    assert "The ranker is <worse>." in page.text
    assert "no_champion" in page.bold


def test_best_value_of_each_metric_is_bold():
    bold = _Page(rendered().html).bold
    assert bold.count("0.750") == 1  # The ranker is best in mrr only.
    assert bold.count("0.500") == 4  # The rule is best in the other four.


def test_page_has_no_external_file_and_no_script():
    html = rendered().html
    page = _Page(html)
    assert "script" not in page.tags and EVIL in " ".join(page.text)
    assert not {name for name, _ in page.attributes} & {"src", "onload", "onclick"}
    assert all(link.startswith("#") for link in page.all("href") + page.all("xlink:href"))
    assert "http" not in html and "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_every_figure_has_a_description_and_ids_are_unique():
    page = _Page(rendered().html)
    assert len([role for role in page.all("role") if role == "img"]) == len(FIGURES)
    assert len([text for text in page.all("aria-label") if len(text) > 20]) == len(FIGURES)
    assert len(page.all("id")) == len(set(page.all("id")))


def test_standalone_figures_are_valid_and_follow_light_and_dark():
    pictures = rendered().pictures
    assert {picture.name for picture in pictures} == FIGURES
    for picture in pictures:
        xml.dom.minidom.parseString(picture.standalone())
        assert "prefers-color-scheme:dark" in picture.standalone()
        assert "var(--ink)" in picture.svg and "#000000" not in picture.svg


def test_sections_without_a_learning_record_name_what_is_missing():
    report = replace(_report(), learning=None)
    assert "has no learning curve. To see it, train again" in _text(learning_curve(report, _kept))
    assert "has no scores of the textbook recommenders" in _text(leaderboard(report, _kept))


def test_page_of_a_test_without_redemptions_names_what_is_missing():
    report = replace(
        _report(),
        gaps=(),
        examples=(),
        probabilities=ProbabilityCheck((), 0.5, 0.1, None),
        broad=(),
        cold_start=None,
        evaluation=replace(_report().evaluation, later=None),
    )
    text = _text(render(report).html)
    for missing in (
        "no two demographic groups",
        "No test visit has",
        "has no calibration of its scores to probabilities",
        "No visit has an order if later redemptions count as well.",
        "0 of 0 months and 0 of 0 campaigns",
    ):
        assert missing in text
    assert "cold start" not in text


def test_version_is_compared_with_the_champion_if_there_is_one():
    report = _report()
    champion = Comparison("champion", 0.25, 0.2, 0.05, 0.01, 0.1, 297, 200)
    evaluation = replace(report.evaluation, against_champion=champion)
    text = _text(render(replace(report, evaluation=evaluation, opponent="champion")).html)
    assert "compared with the champion, which it would replace" in text and "+0.050" in text


def test_gap_between_small_groups_is_not_judged():
    report = _report()
    few = (replace(report.gaps[0], groups=(29, 50)),)
    text = _text(fairness(replace(report, gaps=few), _kept))
    assert "the gap differs" not in text and "too few visits to judge" in text
    equal = (replace(report.gaps[0], widened_interval=(-0.1, 0.1)), *few)
    text = _text(fairness(replace(report, gaps=equal), _kept))
    assert "No gap differs from that of own purchases" in text


def test_numbers_in_the_text_of_a_figure_are_not_cut():
    (curve,) = (one for one in rendered().pictures if one.name == "learning_curve")
    assert ">own purchases 0.500<" in curve.svg and ">0.200<" in curve.svg


def test_dollar_signs_in_a_name_are_no_formula():
    name = "Spend $50_ & save $10"
    found = (replace(_report().slices[2], part=name),)
    page = slices(replace(_report(), slices=found), _kept)
    assert f">history: {escape(name)} (31)<" in page


def test_months_and_campaigns_stand_in_their_own_section_only():
    page = rendered().html
    assert "only in the other section" not in page
    (picture,) = (one for one in rendered().pictures if one.name == "broad")
    # A month with 29 visits is in the table, but not judged and not drawn.
    assert "month: 2017-10 (108)" in picture.svg and "2017-11" not in picture.svg
    assert "month: 2017-11" in _text(page)


def test_home_ranker_is_explained_by_its_own_rule():
    text = _text(render(replace(_report(), ranker="home")).html)
    assert "before anything is in the cart" in text
    assert "The margin is log(own spend + 0.5) + 0.5 log(percov)." in text
    assert "cover a product in the cart" not in text


def test_same_report_is_rendered_to_the_same_page():
    assert render(_report()) == rendered()


def test_every_reason_code_is_shown():
    codes = {code: 1 / len(REASON_CODES) for code in REASON_CODES}
    report = replace(_report(), influence=replace(_influence(), by_code=codes))
    text = _text(influence(report, _kept))
    assert all(code.replace("_", " ") in text for code in REASON_CODES)


def test_wilson_interval_without_a_redemption_has_an_upper_bound_above_zero():
    low, high = wilson(np.array([0.0, 0.5]), np.array([10, 10]))
    assert low[0] == 0 and high[0] == pytest.approx(0.2775, abs=1e-3)
    assert low[1] == pytest.approx(0.2366, abs=1e-3)
