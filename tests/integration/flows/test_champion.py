"""Promotion and rollback: the versions that are accepted, the service, and the audit log."""

import json
import logging

import pytest

from feature_repo.names import CHECKOUT, HOME
from flows.champion import PromotionRefused, audit_log, current_champion, promote, rollback
from serving.models.mlflow_registry import MlflowRegistry
from serving.models.slot import ModelSlot
from tests.support.registered import (
    FAILED,
    client,
    fitted,
    model_file,
    registered,
    run_folder,
    set_alias,
    store,
    tag,
    tamper,
)
from training.registry.mlflow_store import TrackingError


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One store for all tests, because it takes seconds to make; each starts without a champion."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def no_champion(home, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield
    if "champion" in client(home).get_registered_model(HOME.model).aliases:
        client(home).delete_registered_model_alias(HOME.model, "champion")
    (home / "audit" / "champion.jsonl").unlink(missing_ok=True)


def served(home) -> tuple[str, str | None]:
    """The version that a service would rank with if it started now, and its problem."""
    slot = ModelSlot(HOME, MlflowRegistry(store(home).uri, HOME))
    slot.refresh()
    return slot.current.version, slot.problem


def changes(home):
    return [(one.previous, one.version, one.how) for one in audit_log(home).changes()]


def test_version_that_passed_is_promoted_and_serves(home):
    version = registered(home)
    assert promote(home, HOME, version, "better in May", "ada") is None
    assert served(home) == (version, None)
    (change,) = audit_log(home).changes()
    assert (change.actor, change.reason, change.how) == ("ada", "better in May", "promote")
    tags = client(home).get_model_version(HOME.model, version).tags
    assert (tags["promotion_reason"], tags["promoted_by"]) == ("better in May", "ada")


def remove_artifact(home, version):
    (run_folder(home, version) / "gate.json").unlink()


def gate_failed(home, version):
    tamper(home, version, gate="failed")


def never_gated(home, version):
    remove_artifact(home, version)
    for name in ("gate", "verdict"):
        client(home).delete_model_version_tag(HOME.model, version, name)


def forge_tags(home, version):
    remove_artifact(home, version)
    tag(home, version, gate="passed", verdict="better", promotion_forced="yes")


def other_hash(home, version):
    tamper(home, version, sha256="0" * 64)


def other_version(home, version):
    tamper(home, version, version="4711")


def other_model(home, version):
    tamper(home, version, model="checkout_ranker")


def no_json(home, version):
    (run_folder(home, version) / "gate.json").write_text("{")


def no_object(home, version):
    (run_folder(home, version) / "gate.json").write_text("[]")


def other_trees(home, version):
    fitted(seed=8).save_model(model_file(home, version))


def one_more_byte(home, version):
    with model_file(home, version).open("ab") as file:
        file.write(b" ")


def model_gone(home, version):
    model_file(home, version).unlink()


OVERRULED = [
    (remove_artifact, "has no artifact gate.json"),
    (never_gated, "has no artifact gate.json"),
    (forge_tags, "has no artifact gate.json"),
    (gate_failed, "gate=failed in its artifact"),
]
REFUSED = [
    (other_hash, "gate.json with sha256 0000"),
    (other_model, "gate.json with model checkout_ranker"),
    (other_version, "gate.json with version 4711"),
    (other_trees, "gate.json with sha256"),
    (one_more_byte, "gate.json with sha256"),
    (no_json, "cannot be loaded"),
    (no_object, "one JSON object"),
    (model_gone, "cannot be loaded"),
]


@pytest.mark.parametrize(("harm", "why"), OVERRULED + REFUSED)
def test_version_with_a_bad_gate_artifact_is_refused_by_service_and_promote(home, harm, why):
    sound, version = registered(home), registered(home)
    promote(home, HOME, sound, "sound", "ada")
    harm(home, version)
    with pytest.raises(PromotionRefused, match=why) as refused:
        promote(home, HOME, version, "I like it", "ada")
    assert "\n" not in str(refused.value)
    assert current_champion(home, HOME) == sound and changes(home) == [(None, sound, "promote")]
    set_alias(home, version)
    version_in_use, problem = served(home)
    assert version_in_use == "rule-1" and why in problem and f"version {version}" in problem


@pytest.mark.parametrize(("harm", "why"), OVERRULED)
def test_forced_promotion_is_recorded_and_then_serves(home, harm, why):
    version = registered(home)
    harm(home, version)
    assert why in promote(home, HOME, version, "the shop opens tomorrow", "ada", force=True)
    assert served(home) == (version, None)
    (change,) = audit_log(home).changes()
    assert (change.how, change.reason) == ("forced", "the shop opens tomorrow")
    tags = client(home).get_model_version(HOME.model, version).tags
    assert tags["promotion_forced"] == tags["promotion_reason"] == "the shop opens tomorrow"
    record = json.loads((run_folder(home, version) / "forced.json").read_text())
    assert (record["version"], record["actor"]) == (version, "ada") and why in record["overruled"]


@pytest.mark.parametrize(("harm", "why"), REFUSED)
def test_force_does_not_promote_a_changed_model_file(home, harm, why):
    version = registered(home)
    harm(home, version)
    with pytest.raises(PromotionRefused, match=why):
        promote(home, HOME, version, "the shop opens tomorrow", "ada", force=True)
    assert changes(home) == [] and served(home) == ("rule-1", None)


def test_model_file_that_changes_after_a_forced_promotion_does_not_serve(home):
    version = registered(home, FAILED)
    promote(home, HOME, version, "the shop opens tomorrow", "ada", force=True)
    other_trees(home, version)
    version_in_use, problem = served(home)
    assert version_in_use == "rule-1" and "with sha256" in problem


def test_forced_version_needs_force_again_because_the_gate_still_failed(home):
    version = registered(home, FAILED)
    promote(home, HOME, version, "the shop opens tomorrow", "ada", force=True)
    with pytest.raises(PromotionRefused, match="gate=failed"):
        promote(home, HOME, version, "again", "ada")


def test_force_for_a_version_that_passed_is_a_normal_promotion(home):
    version = registered(home)
    assert promote(home, HOME, version, "better", "ada", force=True) is None
    assert changes(home) == [(None, version, "promote")]
    assert not (run_folder(home, version) / "forced.json").exists()


def test_version_without_a_gate_run_is_refused(home):
    version = registered(home, None)
    with pytest.raises(PromotionRefused, match=f"clipwise gate --ranker home --version {version}"):
        promote(home, HOME, version, "in a hurry", "ada")
    set_alias(home, version)
    assert served(home)[0] == "rule-1"


def test_promotion_without_a_reason_or_of_an_unknown_version_is_refused(home):
    version = registered(home)
    for action in (
        lambda: promote(home, HOME, version, " ", "ada"),
        lambda: rollback(home, HOME, "", "ada"),
    ):
        with pytest.raises(PromotionRefused, match="Expected a reason"):
            action()
    with pytest.raises(TrackingError, match="has no version 4711: it has"):
        promote(home, HOME, "4711", "demo", "ada")


def test_champion_set_in_the_ui_is_recorded_once_with_its_tag(home):
    version = registered(home)
    tag(home, version, promotion_reason="read the report")
    set_alias(home, version)
    for _ in range(2):
        assert current_champion(home, HOME) == version
    (change,) = audit_log(home).changes()
    assert (change.at, change.how, change.reason) == (None, "outside clipwise", "read the report")
    assert "not recorded" in change.actor


def test_rollback_returns_to_the_previous_champion_and_then_further_back(home):
    first, second, third = (registered(home) for _ in range(3))
    promote(home, HOME, first, "first", "ada")
    set_alias(home, second)
    promote(home, HOME, third, "third", "ada")
    assert rollback(home, HOME, "the third is too shy", "bob") == second
    assert served(home) == (second, None)
    last = audit_log(home).changes()[-1]
    assert (last.previous, last.version, last.how, last.actor) == (third, second, "rollback", "bob")
    assert rollback(home, HOME, "so is the second", "bob") == first
    with pytest.raises(PromotionRefused, match="home_ranker, but the audit log names none"):
        rollback(home, HOME, "and the first", "bob")
    assert served(home) == (first, None)


def test_rollback_returns_to_a_forced_version(home):
    forced, passed = registered(home, FAILED), registered(home)
    promote(home, HOME, forced, "the shop opens tomorrow", "ada", force=True)
    promote(home, HOME, passed, "better", "ada")
    assert rollback(home, HOME, "no, it is not", "ada") == forced
    assert served(home) == (forced, None)


def test_rollback_to_a_version_that_cannot_be_served_any_more_is_refused(home):
    first, second = registered(home), registered(home)
    promote(home, HOME, first, "first", "ada")
    promote(home, HOME, second, "second", "ada")
    other_trees(home, first)
    with pytest.raises(PromotionRefused, match="cannot be served any more: .*with sha256"):
        rollback(home, HOME, "back", "ada")
    assert current_champion(home, HOME) == second


def test_current_champion_is_returned_with_a_warning_if_the_log_fails(home, caplog):
    version = registered(home)
    set_alias(home, version)
    folder = home / "audit"
    moved = folder.rename(home / "audit.kept") if folder.exists() else None
    folder.write_text("in the way")
    try:
        with caplog.at_level(logging.WARNING, "flows.champion"):
            assert current_champion(home, HOME) == version
        assert "audit log" in caplog.text
        with pytest.raises(Exception, match="audit log"):
            promote(home, HOME, registered(home), "unrecorded", "ada")
        assert current_champion(home, HOME) == version
    finally:
        folder.unlink()
        if moved:
            moved.rename(folder)


def test_rankers_are_promoted_and_rolled_back_one_by_one(home):
    first, second = registered(home), registered(home)
    checkout = registered(home, ranker=CHECKOUT)
    for ranker, version in ((HOME, first), (CHECKOUT, checkout), (HOME, second)):
        promote(home, ranker, version, "better", "ada")
    assert current_champion(home, CHECKOUT) == checkout
    assert rollback(home, HOME, "no", "bob") == first
    assert current_champion(home, CHECKOUT) == checkout
    with pytest.raises(PromotionRefused, match="Expected a previous champion of checkout_ranker"):
        rollback(home, CHECKOUT, "no", "bob")
    models = [one.model for one in audit_log(home).changes()]
    assert models == ["home_ranker", "checkout_ranker", "home_ranker", "home_ranker"]
    client(home).delete_registered_model_alias(CHECKOUT.model, "champion")


def lose_golden(home, version):
    (run_folder(home, version) / "golden.parquet").unlink()


def swap_golden(home, version):
    other = run_folder(home, registered(home, seed=9)) / "golden.parquet"
    (run_folder(home, version) / "golden.parquet").write_bytes(other.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(lose_golden, "has no rows in the artifact"), (swap_golden, "golden rows differently")],
)
def test_version_that_cannot_be_checked_on_golden_rows_is_refused_even_by_force(home, spoil, why):
    version = registered(home)
    spoil(home, version)
    for force in (False, True):
        with pytest.raises(PromotionRefused, match=why):
            promote(home, HOME, version, "it must", "ada", force)
    set_alias(home, version)
    version_in_use, problem = served(home)
    assert version_in_use == "rule-1" and why in problem
