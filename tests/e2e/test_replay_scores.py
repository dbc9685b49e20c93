"""A request in replay gets the scores that the backtest has for that visit, bit for bit."""

import json
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo.instants import microseconds
from feature_repo.lake.reader import Lake
from feature_repo.names import RANKERS
from feature_repo.sources.requests import DECISIONS, requests
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF, RANKER_INPUTS
from flows.offline_recommendation import cart_from_json, recommend
from tests.support.feature_logs import feast_store, moment
from tests.support.places import ROOT
from tests.support.processes import output, running
from tests.support.registered import registered, set_alias
from training.data.dataset import feast_reader
from training.data.frame import RankingFrame, take
from training.data.request_frames import frames_of_rankers, request_frames, request_tables
from training.data.sample import EVERYTHING
from training.evaluation.compare import RANKER
from training.models.ranker import RankerConfig, fit, predict
from training.studies.backtest import Contender, backtest

TESTED_FROM = microseconds(moment(0).replace(year=2025, month=6, day=16))
VISITS = 3


@dataclass(frozen=True)
class Backtested:
    """The backtest of one ranker: the tested pairs, their scores, and the trees that made them."""

    frame: RankingFrame
    scores: np.ndarray
    model: object

    def at(self, qid: str) -> "Backtested":
        """Selects the pairs of one visit."""
        here = self.frame.qid == qid
        return Backtested(take(self.frame, here), self.scores[here], self.model)

    def column(self, name: str) -> np.ndarray:
        return self.frame.inputs[:, RANKER_INPUTS.index(name)]


@dataclass(frozen=True)
class Answered:
    """An answer of the service by coupon: the score, and the inputs of the ranker."""

    model: str
    scores: Mapping[str, float]
    inputs: Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """The ingested example shop, without terms that rules would remove coupons for."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("shop") / "shop"
    shutil.copytree(ROOT / "tests/example", folder, ignore=shutil.ignore_patterns("*_terms.csv"))
    output(home, "ingest", "--source", "files", "--path", str(folder))
    return home


@pytest.fixture(scope="module")
def visits(home) -> dict[str, dict]:
    """All visits of the shop by request id, as training derives them."""
    lake = Lake(home)
    return {one["request_id"]: one for one in requests(lake, lake.state()).to_pylist()}


@pytest.fixture(scope="module")
def backtested(home, visits) -> dict[str, Backtested]:
    """The backtest of each ranker, with one period."""
    lake = Lake(home)
    found = requests(lake, lake.state())
    tables = request_tables(lake, lake.state(), found)
    blocks = frames_of_rankers(request_frames(tables, feast_reader(feast_store(home))), found)
    models, kept = {}, {}

    def contender(key: str) -> Contender:
        def fitted(known, start):
            models[key] = fit(known, RankerConfig(key, n_estimators=40, min_child_weight=0.5))
            return lambda frame: predict(models[key], frame.inputs, key)

        return Contender(fitted, (TESTED_FROM,))

    def keep(key, frame, scores, folds):
        kept.setdefault(key, []).append((frame, scores[RANKER]))

    backtest(blocks, {key: {RANKER: contender(key)} for key in RANKERS}, EVERYTHING, keep)
    assert {len(one) for one in kept.values()} == {1}, "expected one block of each ranker"
    return {key: Backtested(*one[0], models[key]) for key, one in kept.items()}


@pytest.fixture(scope="module")
def chosen(visits, backtested) -> list[str]:
    """Some visits with a redemption and a cart, in order of time, the last one among them."""
    checkout = backtested["checkout"]
    redeemed = checkout.frame.qid[checkout.frame.label > 0]
    with_cart = [one for one in dict.fromkeys(redeemed) if visits[one]["cart_product_ids"]]
    assert len(with_cart) >= VISITS
    return with_cart[:: len(with_cart) // VISITS][:VISITS]


@pytest.fixture(scope="module")
def answered(home, visits, backtested, chosen, tmp_path_factory) -> dict[tuple, Answered]:
    """The answers at each chosen visit, with the features online up to that visit."""
    for key, names in RANKERS.items():
        version = registered(home, ranker=names, model=backtested[key].model)
        set_alias(home, version, ranker=names)
    found = {}
    for qid in chosen:
        output(home, "materialize", "--as-of", visits[qid]["event_timestamp"].isoformat())
        bodies = {}
        with running(home, tmp_path_factory.mktemp("log") / "log") as service:
            for key in RANKERS:
                bodies[key] = asked(service.url, key, visits[qid])
        shown = dict(logged_inputs(home))
        for key, body in bodies.items():
            scores = {one["coupon_id"]: one["score"] for one in body["recommendations"]}
            model = body["model"]["name"]
            found[qid, key] = Answered(model, scores, shown[body["request_id"]])
    return found


def asked(url: str, placement: str, visit: Mapping) -> dict:
    """Requests the coupons of a visit at its instant; only the checkout has the cart."""
    body = {
        "user_id": visit["user_id"],
        "placement": placement,
        "k": 100,
        "as_of": visit["event_timestamp"].isoformat(),
        "cart": cart_of(visit) if placement == "checkout" else [],
    }
    request = urllib.request.Request(
        f"{url}/v1/recommendations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def cart_of(visit: Mapping) -> list[dict]:
    """The cart of a visit as the service gets it, with prices in major units."""
    names = ("cart_product_ids", "cart_quantities", "cart_unit_prices")
    return [
        {"product_id": product, "quantity": quantity, "unit_price": price / 100}
        for product, quantity, price in zip(*(visit[name] for name in names), strict=True)
    ]


def logged_inputs(home: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yields each logged decision: the request id, and the inputs of each shown coupon."""
    for file in (home / DECISIONS).glob("*.parquet"):
        for row in pq.read_table(file).to_pylist():
            inputs = np.array(row["features"], dtype=np.float32)
            yield row["request_id"], dict(zip(row["coupon_ids"], inputs, strict=True))


def test_home_has_the_candidates_of_the_visit(backtested, chosen, answered):
    for qid in chosen:
        expected = backtested["home"].at(qid).frame.coupon_id
        assert sorted(answered[qid, "home"].scores) == sorted(expected)


def test_checkout_has_the_candidates_that_apply_to_the_cart(backtested, chosen, answered):
    for qid in chosen:
        visit = backtested["checkout"].at(qid)
        covers = visit.column("cart_covered_line_count") > 0
        is_short = visit.column("min_spend") > visit.column("cart_amount")
        expected = visit.frame.coupon_id[covers & ~is_short]
        assert sorted(answered[qid, "checkout"].scores) == sorted(expected)
    assert any(answered[qid, "checkout"].scores for qid in chosen)


@pytest.mark.parametrize("ranker", RANKERS)
def test_scores_and_inputs_are_those_of_the_backtest(ranker, backtested, chosen, answered):
    width, distinct = len(INPUTS_OF[ranker]), set()
    for qid in chosen:
        visit, answer = backtested[ranker].at(qid), answered[qid, ranker]
        assert answer.model == RANKERS[ranker].model
        row_of = {coupon_id: row for row, coupon_id in enumerate(visit.frame.coupon_id)}
        for coupon_id, score in answer.scores.items():
            row = row_of[coupon_id]
            np.testing.assert_array_equal(
                answer.inputs[coupon_id][:width], visit.frame.inputs[row, :width], coupon_id
            )
            assert score == float(visit.scores[row]), (qid, coupon_id)
            distinct.add(score)
    assert len(distinct) > VISITS


def test_offline_recommendation_has_the_scores_of_the_service(
    home, visits, chosen, answered, monkeypatch
):
    monkeypatch.setenv("CLIPWISE_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for qid in chosen:
        visit, expected = visits[qid], answered[qid, "checkout"].scores
        cart = cart_from_json(json.dumps(cart_of(visit)))
        at = visit["event_timestamp"].isoformat()
        found = recommend(visit["user_id"], at, 100, "checkout", cart).answer
        assert {one.coupon_id: one.score for one in found.recommendations} == expected
