"""A user's work on the example shop: every command, in order, each in its own process."""

import json
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.example_shop import example_home
from tests.support.processes import output, running
from tests.support.registered import run_folder

FIGURES = {"others", "broad", "learning_curve", "slices", "fairness", "influence"}
PREDICTED = [
    "ranker", "qid", "user_id", "campaign_id", "coupon_id", "as_of", "model", "score", "label",
    "later",
]  # fmt: skip
REPORTED = {
    "gate": r"not passed.*Enough groups",
    "others": r"number \d+ of 17 .*random forest 0\.\d{3}",
    "curve": r"1/8.*all",
    "slices": r"age: under 45.*redeemed coupon: never bought",
    "fairness": r"income: 50,000 and over minus under 50,000 \d+ / \d+",
    "broad": r"with at least 30 groups are above.*month: 2025-05.*Without an order are \d+ of",
    "probability": r"average precision of 0\.\d{3}",
    "influence": r"own purchases \d+\.\d%",
    "examples": r"A hit: a redeemed coupon came first.*Val Doux.*redeemed.*Bought",
    "model": r"rank:.*learning_rate",
    "data": r"model file [0-9a-f]{64}.*Lake version 1,.*commit [0-9a-f]{40}.*train 2025-03-17",
    "features": r"user_purchase_stats.*Number of rows of events",
    "limits": r"not at random",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The example shop with a trained version of each ranker."""
    home = example_home(tmp_path_factory)
    output(home, "train", "--test-start", "2025-05-01T00:00:00Z")
    return home


@pytest.fixture(scope="module")
def service(home, tmp_path_factory):
    """The address of the service in replay."""
    with running(home, tmp_path_factory.mktemp("log") / "log") as service:
        yield service.url


def call(url: str, path: str, body: object = None) -> tuple[int, dict, str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers["Content-Type"]


def recommend(url: str, **changes: object) -> tuple[int, dict, str]:
    body = {"user_id": "card-004", "placement": "home", "k": 10} | changes
    return call(url, "/v1/recommendations", body)


def test_second_ingest_changes_nothing(home):
    before = output(home, "lake")
    printed = output(home, "ingest", "--source", "files", "--path", "tests/example")
    assert "(unchanged)" in printed
    assert output(home, "lake") == before


def test_row_waits_for_its_parent_and_lands_with_it(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "rows"
    folder.mkdir()
    source = ("ingest", "--source", "files", "--path", str(folder))
    (folder / "users.csv").write_text("user_id,event_timestamp\nada,2025-01-01T00:00:00Z\n")
    (folder / "products.csv").write_text("product_id,event_timestamp\np,2025-01-01T00:00:00Z\n")
    (folder / "events.csv").write_text(
        "event_id,event_timestamp,user_id,event_type,product_id,quantity,amount\n"
        "e1,2025-02-01T10:00:00Z,ada,purchase,p,1,100\n"
        "e2,2025-02-01T11:00:00Z,bob,purchase,p,1,100\n"
    )
    refused = output(home, *source, code=1)
    assert "unknown_parent" in refused and "nothing landed" in refused
    output(home, "lake", code=1)
    output(home, *source, "--max-failure-share", "0.5")
    assert "bob" in output(home, "quarantine")
    (folder / "events.csv").unlink()
    (folder / "users.csv").write_text("user_id,event_timestamp\nbob,2025-01-01T00:00:00Z\n")
    assert "1 of the rows in came from the quarantine" in output(home, *source)
    assert "0 rows in quarantine" in output(home, "quarantine")


def test_old_lake_version_can_be_read(home):
    assert "Lake version 1" in output(home, "lake", "--version", "1")
    assert "The lake has no version 99" in output(home, "lake", "--version", "99", code=1)


def test_late_row_shows_between_versions_and_against_the_online_store(home, tmp_path):
    assert "Offline and online agree" in output(home, "features", "diff", "--online")
    assert "no lake version before 1" in output(home, "features", "diff", code=2)
    later, folder = tmp_path / "home", tmp_path / "rows"
    shutil.copytree(home, later)
    folder.mkdir()
    (folder / "events.csv").write_text(
        "event_id,event_timestamp,user_id,event_type,product_id,quantity,amount\n"
        "late,2025-06-28T16:00:00Z,card-004,purchase,1010,1,249\n"
    )
    output(later, "ingest", "--source", "files", "--path", str(folder))
    for sides, names in (((), "Version 1 and version 2"), (("--online",), "Offline and online")):
        printed = output(later, "features", "diff", "--user", "card-004", *sides, code=1)
        assert f"{names} differ as of 2025-06-30 22:00:00 UTC in 1 of 1 user." in printed
        assert "purchase_count_7d" in printed and "entries, only here: 1010" in printed


def test_training_leaves_predictions_and_a_report(home):
    import pyarrow.parquet as pq

    predictions = pq.read_table(home / "reports" / "home" / "predictions.parquet")
    assert predictions.column_names == PREDICTED
    assert set(predictions["ranker"].to_pylist()) == {"home"}
    models = set(predictions["model"].to_pylist())
    assert models > {"ranker", "random", "popularity", "own_purchases", "spend_percov", "content"}


def test_report_has_every_section_with_what_was_measured(home):
    page, run = (home / "reports" / "home" / "training_report.html").read_text(), run_of(home)
    assert page == (run / "training_report.html").read_text()
    found = {
        match[1]: " ".join(re.sub(r"<[^>]+>", " ", match[2]).split())
        for match in re.finditer(r'<section id="(\w+)"[^>]*>(.*?)</section>', page, re.S)
    }
    for section, printed in REPORTED.items():
        assert re.search(printed, found[section]), (section, found[section][:400])
    figures = {file.stem for file in run.glob("figures/*.svg")}
    assert figures == FIGURES and page.count('role="img"') == len(FIGURES)
    assert json.loads((run / "learning.json").read_text())["curve"]


def test_backtest_ranks_the_ranker_beside_the_textbook_and_keeps_every_score(home):
    import pyarrow.parquet as pq

    command = ("backtest", "--from", "2025-05-01T00:00:00Z", "--baselines")
    printed = " ".join(output(home, *command).split())
    assert "Home, all visits: 91 of 272 visits have an order" in printed
    assert "Checkout, all visits" in printed and "cart_percov" in printed
    assert "matrix_factorization" in printed and "ranker_week_late" in printed
    assert "The interval by household does not cover the chance between campaigns" in printed
    found = json.loads((home / "reports" / "backtest.json").read_text())["rankers"]
    scores = pq.read_table(home / "reports" / "backtest_predictions.parquet")
    assert scores.column_names == ["fold", *PREDICTED]
    pairs = zip(scores["ranker"].to_pylist(), scores["model"].to_pylist(), strict=True)
    assert set(pairs) == {(ranker, model) for ranker in found for model in found[ranker]["models"]}
    late = output(home, "backtest", "--from", "2030-01-01T00:00:00Z", code=1)
    assert "choose an earlier" in " ".join(late.split())


def test_search_tries_the_present_settings_first(home):
    window = ("--from", "2025-05-01T00:00:00Z", "--until", "2026-01-01T00:00:00Z")
    printed = output(home, "tune", *window, "--trials", "2")
    assert "0 (present)" in printed and "2 attempts" in printed


def test_failed_gate_cannot_be_promoted(home):
    printed = output(
        home, "promote", "--ranker", "home", "--version", "1", "--reason", "I like it", code=1
    )
    assert "gate=failed" in printed and "Traceback" not in printed


def test_gate_can_be_repeated_and_gives_the_same_answer(home):
    file = run_of(home) / "gate.json"
    first = json.loads(file.read_text())
    printed = output(home, "gate", "--ranker", "home", "--version", "1")
    assert "│ failed" in printed and "Gate: failed, verdict: no_champion" in printed
    words = " ".join(printed.replace("│", " ").split())
    assert "gives all 1,141 test pairs the scores of its run" in words
    again = json.loads(file.read_text())
    for one in (first, again):
        # What may differ: how busy the machine was, and which commit measured.
        del one["measured"]["latency"], one["reasons"], one["git_commit"]
    assert again == first
    unknown = output(home, "gate", "--ranker", "checkout", "--version", "9", code=1)
    assert "checkout_ranker has no version 9" in unknown


def test_reproduced_version_is_the_same_model_file(home):
    for ranker in ("home", "checkout"):
        command = ("reproduce", "--ranker", ranker, "--version")
        assert "they are the same" in output(home, *command, "1")
        assert f"{ranker}_ranker has no version 9" in output(home, *command, "9", code=2)


def test_recommend_prints_names_a_person_can_read(home):
    printed = output(home, "recommend", "--user", "card-004", "--k", "3")
    assert "spend_percov rule-1" in printed and "val doux" in printed
    assert "after" not in output(
        home, "recommend", "--user", "card-004", "--as-of", "2025-03-20T00:00:00Z"
    )
    assert "complete up to" in output(
        home, "recommend", "--user", "card-004", "--as-of", "2026-01-01T00:00:00Z", code=1
    )


def test_recommend_takes_a_placement_and_a_cart(home):
    def printed_with(cart: str, code: int = 0) -> str:
        placed = ("--placement", "checkout", "--cart", cart)
        return output(home, "recommend", "--user", "card-004", *placed, code=code)

    lines = [{"product_id": "1010", "quantity": 2, "unit_price": 2.49}]
    assert "cart_percov rule-1" in printed_with(json.dumps(lines))
    refused = printed_with('[{"product_id": "1010"}]', code=1)
    assert "Expected a cart such as" in refused and "Traceback" not in refused


def test_recommend_keeps_the_holdout_of_the_environment(home):
    def printed_with(share: str, code: int = 0) -> str:
        command = ("recommend", "--user", "card-004", "--k", "3")
        return output(home, *command, code=code, CLIPWISE_HOLDOUT_SHARE=share)

    assert "holdout" in printed_with("1") and "No coupon" in printed_with("1")
    refused = printed_with("2", code=1)
    assert (
        "in CLIPWISE_HOLDOUT_SHARE a share of users from 0 to 1" in refused
        and "Traceback" not in refused
    )


def test_rule_serves_while_there_is_no_champion(service):
    status, answer, kind = recommend(service)
    assert (status, kind) == (200, "application/json")
    assert answer["model"] == {"name": "spend_percov", "version": "rule-1"}
    assert answer["cold_start"] is False and answer["stale_features"] == []
    ranks = [one["rank"] for one in answer["recommendations"]]
    assert ranks == list(range(1, len(ranks) + 1)) and ranks
    scores = [one["score"] for one in answer["recommendations"]]
    assert scores == sorted(scores, reverse=True)
    assert call(service, "/readyz")[0] == 200
    assert all(not one["is_champion"] for one in rankers_of(service).values())


def test_answer_carries_reasons_if_the_request_wants_them(service):
    _, plain, _ = recommend(service)
    _, explained, _ = recommend(service, explain=True)
    assert all(one["reasons"] == [] for one in plain["recommendations"])
    for one in explained["recommendations"]:
        assert {"code", "text", "effect"} == set(one["reasons"][0])
    effects = [
        sum(each["effect"] for each in one["reasons"]) for one in explained["recommendations"]
    ]
    scores = [one["score"] for one in explained["recommendations"]]
    # Every coupon has the same base: the score of one about which nothing is known.
    bases = [score - effect for score, effect in zip(scores, effects, strict=True)]
    assert bases == pytest.approx([bases[0]] * len(bases), abs=0.01)
    first = explained["recommendations"][0]["reasons"][0]
    assert first["code"] == "own_purchases" and first["text"].startswith("Bought ")


def test_expired_coupons_are_never_shown(service):
    _, answer, _ = recommend(service, k=100)
    assert answer["removed"]["expired"] == 4
    assert not [one for one in answer["recommendations"] if one["campaign_id"] == "spring"]


def test_unknown_user_gets_the_open_campaign(service):
    status, answer, _ = recommend(service, user_id="a stranger")
    assert status == 200 and answer["cold_start"] is True
    assert {one["campaign_id"] for one in answer["recommendations"]} == {"summer"}


def test_past_instant_is_refused_with_the_watermark(service):
    status, problem, kind = recommend(service, as_of="2025-04-01T00:00:00Z")
    assert (status, kind) == (422, "application/problem+json")
    assert "2025-06-30T22:00:00" in problem["detail"]


def test_offline_and_online_recommend_the_same(home, service):
    _, answer, _ = recommend(service, k=3)
    printed = output(home, "recommend", "--user", "card-004", "--k", "3")
    for one in answer["recommendations"]:
        assert one["coupon_id"] in printed


def test_malformed_request_gets_a_problem_document(service):
    status, problem, kind = recommend(service, placement="roof", surprise=1)
    assert (status, kind) == (422, "application/problem+json")
    assert {error["location"] for error in problem["errors"]}


def test_events_are_counted_and_kept_once(service):
    event = {
        "event_id": "e1",
        "event_type": "view",
        "user_id": "card-004",
        "event_timestamp": "2025-06-30T10:00:00Z",
        "product_id": "1",
    }
    bad = event | {"event_id": "e2", "event_type": "sneeze"}
    _, first, _ = call(service, "/v1/events", {"events": [event, bad]})
    assert (first["accepted"], first["duplicate"], first["rejected"]) == (1, 0, 1)
    _, second, _ = call(service, "/v1/events", {"events": [event]})
    assert (second["accepted"], second["duplicate"]) == (0, 1)


def test_forced_promotion_is_recorded_and_the_running_service_loads_it(home, service):
    why = ("--reason", "the shop opens tomorrow")
    printed = output(home, "promote", "--ranker", "home", "--version", "1", *why, "--force")
    assert "Forced:" in printed and "home_ranker version 1 is champion" in printed
    for _ in range(100):
        if rankers_of(service)["home"]["is_champion"]:
            break
        time.sleep(0.2)
    explained = recommend(service, explain=True)[1]
    assert explained["model"] == {"name": "home_ranker", "version": "1"}
    reasons = [reason for one in explained["recommendations"] for reason in one["reasons"]]
    assert reasons and all((one["effect"] < 0) == ("Against it" in one["text"]) for one in reasons)
    assert recommend(service, placement="member")[1]["model"]["name"] == "home_ranker"
    assert recommend(service, placement="checkout")[1]["model"]["name"] == "cart_percov"
    back = ("rollback", "--ranker", "home", "--reason")
    assert "audit log names none before" in output(home, *back, "no", code=1)
    assert [change["how"] for change in audited(home)] == ["forced"]
    assert "the shop opens tomorrow" in output(home, "audit")


def test_champion_taken_away_in_the_registry_is_noticed_and_recorded_by_the_service(home, service):
    from mlflow import MlflowClient

    uri = f"sqlite:///{home / 'mlflow.db'}"
    MlflowClient(uri, uri).delete_registered_model_alias("home_ranker", "champion")
    for _ in range(100):
        if len(audited(home)) == 2 and not rankers_of(service)["home"]["is_champion"]:
            break
        time.sleep(0.2)
    last = audited(home)[-1]
    assert (last["from"], last["to"], last["at"]) == ("1", None, None)
    assert last["how"] == "outside clipwise" and "not recorded" in last["actor"]
    assert recommend(service)[1]["model"]["name"] == "spend_percov"
    assert "outside clipwise" in output(home, "audit")
    assert "version 1 is champion again" in output(
        home, "rollback", "--ranker", "home", "--reason", "by mistake"
    )
    assert [change["how"] for change in audited(home)][2:] == ["rollback"]


def run_of(home: Path) -> Path:
    """The folder with the artifacts of the run of the home ranker's first version."""
    return run_folder(home, "1")


def rankers_of(service) -> dict:
    """Returns the rankers that the service states on its model page."""
    return call(service, "/v1/model")[1]["rankers"]


def audited(home: Path) -> list[dict]:
    """The recorded changes of champion."""
    file = home / "audit" / "champion.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]
