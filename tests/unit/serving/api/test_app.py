"""The routes: answers, problem documents, readiness, metrics and the docs page."""

import asyncio
import json
import math
from dataclasses import replace
from functools import partial

import pytest

from serving.api.app import create_app
from serving.errors import ModelError
from serving.http.limits import Limits
from serving.http.problems import MAX_ERRORS, PROBLEM_JSON
from serving.models.experiment import Experiment
from serving.models.slot import refresh_all
from serving.models.webhook import Webhook, sign
from serving.runtime.background import Background
from serving.telemetry.logs import JsonLines
from tests.support.serving_fakes import WATERMARK, FakeOnline, FakeRanker, FakeRegistry
from tests.support.serving_services import ASK, FakeInbox, assert_problem, call, get, post, service


def test_answer_has_the_fields_of_the_contract_and_no_others():
    assert post(service(), json=ASK).json() == {
        "request_id": "request-1",
        "user_id": "900",
        "model": {"name": "spend_percov", "version": "rule-1"},
        "cold_start": False,
        "stale_features": [],
        "recommendations": [
            {
                "coupon_id": "milk",
                "coupon_code": "MILK",
                "campaign_id": "1",
                "rank": 1,
                "score": pytest.approx(math.log(0.5) + 0.5 * math.log(1 / 200)),
                "propensity": 1.0,
                "valid_to": "2017-12-11T00:00:00Z",
                "reasons": [],
            }
        ],
        "removed": {"expired": 1},
    }


def test_empty_answer_is_a_200_with_the_reason():
    answer = post(service(), json=ASK | {"user_id": "unknown"})
    assert answer.status_code == 200
    assert answer.json()["recommendations"] == []
    assert answer.json()["reason"] == "no campaign reaches this user"
    assert answer.json()["cold_start"] is True


def test_invalid_request_lists_each_wrong_place_and_repeats_no_value():
    answer = post(service(), json=ASK | {"k": "secret", "user_id": None})
    document = assert_problem(answer, 422)
    assert {error["location"] for error in document["errors"]} == {"body.k", "body.user_id"}
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"\\ud800": 1}', b'{"user_id": NaN}']
)
def test_body_that_is_no_request_is_a_problem(body):
    assert_problem(post(service(), content=body, headers={"content-type": "application/json"}), 422)


@pytest.mark.parametrize(
    "body",
    [
        {f"name {number}": 0 for number in range(33)},
        {"cart": [{f"name {number}": 0 for number in range(33)}]},
    ],
)
def test_object_of_very_many_names_is_one_error(body):
    document = assert_problem(post(service(limits=Limits()), json=ASK | body), 422)
    assert [error["location"] for error in document["errors"]] == ["body"]
    assert "at most 32 names" in document["errors"][0]["message"]


def test_problem_lists_at_most_a_hundred_places():
    lines = [{"product_id": "", "quantity": 0, "unit_price": -1}] * 500
    answer = post(service(limits=Limits()), json=ASK | {"cart": lines})
    assert len(assert_problem(answer, 422)["errors"]) == MAX_ERRORS


def test_body_that_is_not_utf8_is_a_problem():
    headers = {"content-type": "application/json"}
    assert_problem(post(service(), content=b'{"user_id": "\xff"}', headers=headers), 400)


def test_as_of_before_the_watermark_is_a_problem_that_states_the_watermark():
    answer = post(service(), json=ASK | {"as_of": "2017-01-01T00:00:00Z"})
    document = assert_problem(answer, 422)
    assert "2017-12-01T00:00:00Z" in document["detail"]
    assert document["type"] == "urn:clipwise:problem:as-of-refused"


def test_unknown_path_is_a_problem():
    assert_problem(get(service(), "/v2/recommendations"), 404)


def test_wrong_method_is_a_problem_with_the_right_one_in_allow():
    answer = get(service(), "/v1/recommendations")
    assert_problem(answer, 405)
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("part", ["bytes=0-9", "bytes=99999999-", "junk"])
def test_files_of_the_docs_page_are_sent_whole(part):
    path = "/static-offline-docs/swagger-ui.css"
    ranged = ("GET", path, {"headers": {"range": part}})
    whole, answer = call(service(), ("GET", path, {}), ranged)
    assert answer.status_code == 200 and answer.content == whole.content


def test_body_with_a_declared_length_above_the_limit_is_refused():
    assert_problem(post(service(), content=b"x" * 2_001), 413)


def test_body_of_undeclared_length_above_the_limit_is_refused():
    async def pieces():
        for _ in range(3):
            yield b"x" * 1_000

    assert_problem(post(service(), content=pieces()), 413)


def test_failure_inside_is_a_problem_without_its_cause():
    answer = post(service(broken=True), json=ASK)
    assert_problem(answer, 500)
    assert "NoneType" not in answer.text


def test_service_without_materialized_features_is_not_ready_but_alive():
    empty = FakeOnline(until=None)
    ready, alive, recommended = call(
        service(empty),
        ("GET", "/readyz", {}),
        ("GET", "/healthz", {}),
        ("POST", "/v1/recommendations", {"json": ASK}),
    )
    assert "clipwise materialize" in assert_problem(ready, 503)["detail"]
    assert_problem(recommended, 503)
    assert recommended.headers["retry-after"] == "1"
    assert alive.json() == {"status": "ok"}


def test_readiness_notes_that_the_rule_ranks():
    answer = get(service(), "/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "models": {
            "home": {"name": "spend_percov", "version": "rule-1"},
            "checkout": {"name": "cart_percov", "version": "rule-1"},
        },
        "coupons": 2,
        "clock": {"now": "2017-12-01T00:00:00Z", "replay": True},
        "online_watermark": "2017-12-01T00:00:00Z",
        "notes": [
            "home_ranker has no champion; the rule spend_percov ranks.",
            "checkout_ranker has no champion; the rule cart_percov ranks.",
        ],
    }


def test_readiness_and_model_page_state_why_a_challenger_or_a_file_is_missing():
    registry = FakeRegistry("7", {"7": FakeRanker("7"), "8": ModelError("8 is torn.")}, 0, "8")
    parts = service(registry=registry, experiment=Experiment("spring", 0.1, 0.5))
    parts.decisions.problem = "No space left on device"
    ready, model = call(parts, ("GET", "/readyz", {}), ("GET", "/v1/model", {}))
    assert ready.json()["notes"] == [
        "8 is torn.",
        "checkout_ranker has no champion; the rule cart_percov ranks.",
        "Decisions wait in memory because they cannot be written (No space left on device); free "
        "space on the disk.",
    ]
    assert model.json()["rankers"]["home"]["challenger"] == {
        "model": None,
        "experiment": "spring",
        "challenger_share": 0.1,
        "shadow_share": 0.5,
        "problem": "8 is torn.",
    }


def test_model_page_shows_the_previous_champion_and_the_challenger():
    rankers = {version: FakeRanker(version) for version in "789"}
    registry = FakeRegistry("7", rankers, 0, "9")
    parts = service(registry=registry, experiment=Experiment(shadow_share=0.5))
    refresh_all(parts.slots)
    registry.champion = "8"
    state = get(parts, "/v1/model").json()["rankers"]["home"]
    assert (state["version"], state["previous"]["version"]) == ("8", "7")
    assert state["challenger"]["model"]["version"] == "9" and state["problem"] is None


def test_readiness_lists_stale_features():
    stale = FakeOnline(stale=("user_stats",))
    assert "user_stats" in get(service(stale), "/readyz").json()["notes"][-1]


def test_model_page_shows_both_rankers_and_the_policies():
    checkout = FakeRegistry("7", {"7": FakeRanker("7", "checkout_ranker")})
    state = get(service(checkout=checkout), "/v1/model").json()
    common = {"problem": None, "previous": None, "challenger": None}
    assert state["rankers"] == {
        "home": {
            "name": "spend_percov",
            "version": "rule-1",
            "is_champion": False,
            "placements": ["home", "member", "campaign"],
            "feature_service": "home_ranker_v1",
            **common,
        },
        "checkout": {
            "name": "checkout_ranker",
            "version": "7",
            "is_champion": True,
            "placements": ["checkout", "cart"],
            "feature_service": "checkout_ranker_v1",
            **common,
        },
    }


def test_placement_is_answered_by_its_ranker_or_by_the_rule_of_that_ranker():
    checkout = FakeRegistry("7", {"7": FakeRanker("7", "checkout_ranker")})
    placements = ("home", "member", "campaign", "checkout", "cart")
    answers = call(
        service(checkout=checkout),
        *(
            ("POST", "/v1/recommendations", {"json": ASK | {"placement": one}})
            for one in placements
        ),
    )
    assert [one.json()["model"]["name"] for one in answers] == [
        *["spend_percov"] * 3,
        *["checkout_ranker"] * 2,
    ]


def test_policies_of_every_placement_are_on_the_model_page():
    policies = get(service(), "/v1/model").json()["policies"]
    assert set(policies) == {"home", "cart", "checkout", "member", "campaign"}
    assert policies["home"] == {"kind": "deterministic", "department_limit": None}


def test_events_reach_the_inbox_with_their_instant_of_arrival():
    inbox = FakeInbox()
    answer = post(service(inbox=inbox), "/v1/events", json={"events": [{"event_id": "1"}]})
    assert answer.json() == {"accepted": 1, "duplicate": 0, "rejected": 0, "rejections": []}
    assert inbox.batches == [(({"event_id": "1"},), WATERMARK)]


def test_events_that_cannot_be_stored_are_a_problem():
    answer = post(service(inbox=FakeInbox(failing=True)), "/v1/events", json={"events": []})
    assert_problem(answer, 503)


def test_metrics_count_requests_by_route_and_show_nothing_of_the_user():
    _, _, answer = call(
        service(),
        ("POST", "/v1/recommendations", {"json": ASK}),
        ("GET", "/900", {}),
        ("GET", "/metrics", {}),
    )
    lines = answer.text.splitlines()
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'clipwise_request_seconds_count{route="/v1/recommendations",status="200"} 1.0' in lines
    assert 'clipwise_candidates_removed_total{rule="expired"} 1.0' in lines
    assert 'clipwise_model_info{name="spend_percov",ranker="home",version="rule-1"} 1.0' in lines
    # The measured value after the last space may contain any digits.
    assert not any("900" in line.rsplit(" ", 1)[0] for line in lines)


def test_request_is_one_log_line_without_the_user(caplog):
    caplog.set_level("INFO")
    caplog.handler.setFormatter(JsonLines())
    post(service(), path="/v1/recommendations?user_id=900", json=ASK)
    ours = [line for line in caplog.text.splitlines() if '"logger": "serving' in line]
    assert not any("user_id" in line for line in ours)
    line = json.loads(ours[-1])
    assert line.pop("time").endswith("+00:00") and len(line.pop("request_id")) == 32
    assert line == {
        "level": "info",
        "logger": "serving.http.instrumentation",
        "message": "answered",
        "method": "POST",
        "route": "/v1/recommendations",
        "status": 200,
        "ms": 0.0,
    }


def test_openapi_shows_the_contract_with_examples_and_problem_documents():
    document = get(service(), "/openapi.json").json()
    request = document["components"]["schemas"]["RecommendationRequest"]
    assert request["examples"][0]["user_id"] == "900"
    assert request["additionalProperties"] is False
    answers = document["paths"]["/v1/recommendations"]["post"]["responses"]
    statuses = {"200", "400", "401", "403", "408", "413", "422", "429", "503"}
    assert set(answers) == statuses
    assert list(answers["422"]["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_decision_log_runs_during_the_lifespan():
    parts = service()
    seen = []

    async def run() -> None:
        app = create_app(parts)
        async with app.router.lifespan_context(app):
            seen.append(parts.decisions.running)

    asyncio.run(run())
    assert seen == [True] and parts.decisions.running is False


def test_registry_webhook_does_not_exist_without_a_secret():
    answer = post(service(), "/v1/registry-webhook", json={})
    assert answer.status_code == 404 and answer.headers["content-type"] == PROBLEM_JSON


def test_signed_notice_of_the_registry_loads_the_champion_at_once():
    registry = FakeRegistry()
    running = service(registry=registry)
    webhook = Webhook("s3cret", partial(refresh_all, running.slots), lambda: 1000.0)
    running = replace(running, webhook=webhook)
    body = b'{"data": {"alias": "champion"}}'
    headers = {
        "X-MLflow-Signature": sign("s3cret", "d", "1000", body),
        "X-MLflow-Delivery-Id": "d",
        "X-MLflow-Timestamp": "1000",
    }
    registry.rankers = {"7": FakeRanker("7")}

    def notify(**changes):
        return ("POST", "/v1/registry-webhook", {"content": body, "headers": headers | changes})

    (unsigned,) = call(running, notify(**{"X-MLflow-Signature": "v1,AAAA"}))
    assert unsigned.status_code == 401 and not running.slots["home"].has_champion
    assert unsigned.json()["type"] == "urn:clipwise:problem:signature-refused"
    registry.champion = "7"
    (signed,) = call(replace(running, background=Background(60)), notify())
    assert signed.status_code == 204 and signed.content == b""
    assert running.slots["home"].current.version == "7"
