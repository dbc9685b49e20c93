"""The reviewer's page: complete, safe and in need of nothing from outside."""

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from training.evaluate import Comparison, Evaluation
from training.metrics import metric_names
from training.promotion import Check, Decision
from training.report import Part, Report, render


class _Page(HTMLParser):
    """Collects the text and the tags, and fails on a tag that is not closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.bold, self.attributes = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
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


def _report(passed=True):
    names = metric_names()
    table = {"ranker": dict.fromkeys(names, 0.25), "own_purchases": dict.fromkeys(names, 0.5)}
    table["ranker"]["mrr"] = 0.75
    rule = Comparison("own_purchases", 0.25, 0.5, -0.25, -0.3, -0.2, 297, 200)
    return Report(
        title="coupon_ranker",
        facts={"lake version": "3", "commit": "<script>alert(1)</script>"},
        parts=(
            Part(
                "train",
                datetime(2017, 1, 2, tzinfo=UTC),
                datetime(2017, 8, 1, tzinfo=UTC),
                9,
                1234,
                5,
            ),
            Part("valid", None, None, 0, 0, 0),
        ),
        evaluation=Evaluation(table, rule, None),
        decision=Decision((Check("rule", passed, "The ranker is <worse>."),), "no_champion"),
        importance=(("own_purchase_count", 0.5), ("days_left", 0.25)),
    )


def test_page_shows_window_metrics_interval_decision_importance_and_limits():
    text = " ".join(_Page(render(_report())).text)
    for expected in ("2017-01-02", "1,234", "ndcg@10", "-0.2500", "-0.3000", "297", "days_left"):
        assert expected in text
    assert "Known limits" in text


@pytest.mark.parametrize(("passed", "verdict"), [(True, "Gate passed"), (False, "Gate not passed")])
def test_page_says_what_the_gate_decided_and_why(passed, verdict):
    page = _Page(render(_report(passed)))
    assert verdict in page.text
    assert "The ranker is <worse>." in page.text
    assert "no_champion" in page.bold


def test_best_value_of_each_metric_is_bold():
    bold = _Page(render(_report())).bold
    assert bold.count("0.7500") == 1
    assert bold.count("0.5000") == 10  # nine metrics of the table, and once in the comparison


def test_page_needs_nothing_from_outside_and_runs_no_script():
    page = render(_report())
    assert "<script" not in page
    assert not {name for name, _ in _Page(page).attributes} & {"src", "href", "onload", "onclick"}
    assert "http" not in page and "@import" not in page


def test_same_report_gives_the_same_page():
    assert render(_report()) == render(_report())
