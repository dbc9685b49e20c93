import math
import re
from pathlib import Path

import pytest

from serving.errors import SettingsRefused
from serving.online.feast_store import with_timeout
from serving.rules.settings import RuleSettings
from serving.settings import settings_from_environment


def test_home_moves_all_state():
    settings = settings_from_environment({"CLIPWISE_HOME": "/state"})
    assert settings.home == Path("/state")
    assert settings.tracking_uri == "sqlite:////state/mlflow.db"


def test_service_binds_to_loopback_and_the_wall_clock_by_default():
    settings = settings_from_environment({})
    assert (settings.host, settings.port, settings.replay) == ("127.0.0.1", 8080, False)
    assert settings.home.name == ".clipwise"


def test_tracking_server_is_chosen_by_its_own_variable():
    settings = settings_from_environment({"MLFLOW_TRACKING_URI": "http://registry:5000"})
    assert settings.tracking_uri == "http://registry:5000"


def test_what_is_given_wins_over_the_environment():
    environ = {"CLIPWISE_HOME": "/state", "MLFLOW_TRACKING_URI": "http://registry:5000"}
    settings = settings_from_environment(environ, home=Path("/other"), port=9000, replay=True)
    assert (settings.home, settings.port, settings.replay) == (Path("/other"), 9000, True)


def test_feature_repo_is_the_folder_with_the_feature_definitions():
    assert (settings_from_environment({}).feature_repo / "names.py").exists()


def test_webhook_secret_comes_from_the_environment_and_is_never_shown():
    settings = settings_from_environment({"CLIPWISE_WEBHOOK_SECRET": "s3cret"})
    assert settings.webhook_secret == "s3cret" and "s3cret" not in repr(settings)
    for environ in ({}, {"CLIPWISE_WEBHOOK_SECRET": ""}):
        assert settings_from_environment(environ).webhook_secret is None


def test_rules_of_the_shop_come_from_the_environment():
    environ = {
        "CLIPWISE_HOLDOUT_SHARE": "0.05",
        "CLIPWISE_HOLDOUT_SALT": "spring",
        "CLIPWISE_RESERVATION_SECONDS": "60",
        "CLIPWISE_LEDGER_REDIS": "redis:6379",
        "CLIPWISE_CANCELED_RETURNS": "budget",
    }
    rules = settings_from_environment(environ).rules
    assert rules == RuleSettings(0.05, "spring", 60.0, "redis:6379", "budget")
    assert settings_from_environment({"CLIPWISE_HOLDOUT_SHARE": ""}).rules == RuleSettings()


def test_unknown_return_of_a_canceled_redemption_is_one_sentence():
    with pytest.raises(SettingsRefused, match="use_and_budget, budget, nothing, got 'use'"):
        settings_from_environment({"CLIPWISE_CANCELED_RETURNS": "use"})


@pytest.mark.parametrize("share", ["5%", "5", "-0.1", "nan"])
def test_holdout_share_that_is_no_share_is_one_sentence(share):
    refusal = (
        "Expected in CLIPWISE_HOLDOUT_SHARE a share of users from 0 to 1 (0.05 is one in twenty), "
        f"got '{share}'."
    )
    with pytest.raises(SettingsRefused, match=re.escape(refusal)):
        settings_from_environment({"CLIPWISE_HOLDOUT_SHARE": share})


@pytest.mark.parametrize(
    ("name", "text", "refusal"),
    [
        ("LEDGER_REDIS", "redis", "Expected the ledger's Redis as host:port, got 'redis'"),
        ("RESERVATION_SECONDS", "0", "more than 0 seconds to reserve a coupon, got '0'."),
        ("RESERVATION_SECONDS", "inf", "more than 0 seconds to reserve a coupon, got 'inf'."),
        ("RESERVATION_SECONDS", "soon", "more than 0 seconds to reserve a coupon, got 'soon'."),
    ],
)
def test_setting_that_cannot_be_is_one_sentence(name, text, refusal):
    with pytest.raises(SettingsRefused, match=re.escape(refusal)):
        settings_from_environment({f"CLIPWISE_{name}": text})


@pytest.mark.parametrize(
    ("field", "refusal"),
    [
        ({"holdout_share": 5.0}, "Expected a holdout share from 0 to 1, got 5.0"),
        ({"holdout_share": math.nan}, "Expected a holdout share from 0 to 1, got nan"),
        ({"reservation_seconds": 0.0}, "Expected reservations of more than 0 seconds, got 0.0"),
    ],
)
def test_rule_settings_made_by_hand_are_checked_too(field, refusal):
    with pytest.raises(SettingsRefused, match=re.escape(refusal)):
        RuleSettings(**field)


def test_rate_of_a_key_comes_from_the_environment():
    assert settings_from_environment({}).limits.per_second == 1_000
    for text, rate in (("5.5", 5.5), ("0", 0)):
        assert settings_from_environment({"CLIPWISE_RATE_LIMIT": text}).limits.per_second == rate


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf"])
def test_rate_that_makes_no_sense_is_one_sentence(text):
    with pytest.raises(SettingsRefused, match="CLIPWISE_RATE_LIMIT"):
        settings_from_environment({"CLIPWISE_RATE_LIMIT": text})


def test_deadline_comes_from_the_environment():
    assert settings_from_environment({}).deadline_seconds == 2.0
    named = settings_from_environment({"CLIPWISE_DEADLINE_SECONDS": "0.5"})
    assert named.deadline_seconds == 0.5


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_deadline_that_makes_no_sense_is_one_sentence(text):
    with pytest.raises(SettingsRefused, match="CLIPWISE_DEADLINE_SECONDS"):
        settings_from_environment({"CLIPWISE_DEADLINE_SECONDS": text})


@pytest.mark.parametrize("name", ["ENDPOINT", "TRACES_ENDPOINT"])
def test_traces_are_made_if_a_collector_is_named(name):
    assert not settings_from_environment({}).traced
    assert settings_from_environment({f"OTEL_EXPORTER_OTLP_{name}": "http://c:4318"}).traced


def test_policies_experiment_and_retention_come_from_the_environment():
    plain = settings_from_environment({})
    assert plain.policies.policy_for("home").is_plain and not plain.experiment.has_challenger
    assert plain.decisions.days is None
    environ = {
        "CLIPWISE_POLICY": "epsilon_greedy:0.1",
        "CLIPWISE_SHADOW_SHARE": "0.5",
        "CLIPWISE_DECISION_DAYS": "30",
    }
    found = settings_from_environment(environ)
    assert found.policies.policy_for("home").epsilon == 0.1 and found.experiment.shadow_share == 0.5
    assert found.decisions.days == 30


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "long"])
def test_retention_that_makes_no_sense_is_one_sentence(text):
    with pytest.raises(SettingsRefused, match="CLIPWISE_DECISION_DAYS"):
        settings_from_environment({"CLIPWISE_DECISION_DAYS": text})


def test_redis_is_not_waited_for_without_an_end_unless_somebody_says_how_long():
    assert with_timeout("redis:6379,db=1") == "redis:6379,db=1,socket_timeout=5"
    assert with_timeout("redis:6379,socket_timeout=9") == "redis:6379,socket_timeout=9"
