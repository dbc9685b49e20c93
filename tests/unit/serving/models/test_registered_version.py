"""A version serves only with an artifact for its own model file, whatever its tags are."""

from dataclasses import replace

import pytest

from feature_repo.names import CHECKOUT, HOME
from serving.errors import ModelError, NotPassed
from serving.models.registered_version import (
    RegisteredVersion,
    require_passed,
    require_servable,
    require_service,
)

TAGS = {"gate": "passed", "base_margin": "spend_percov rule-1"}
OF_CHECKOUT = TAGS | {"base_margin": "cart_percov margin-2"}
BARE = RegisteredVersion(HOME, "7", TAGS, b"trees", ())
IDENTITY = {"model": "home_ranker", "version": "7", "sha256": BARE.sha256}
SOUND = replace(BARE, gate=IDENTITY | {"gate": "passed"})
FAILED = replace(BARE, tags=TAGS | {"gate": "failed"}, gate=IDENTITY | {"gate": "failed"})
PERMIT = IDENTITY | {"reason": "the shop opens tomorrow"}


def test_version_that_passed_serves():
    assert require_passed(SOUND) is SOUND
    assert require_servable(SOUND) is SOUND


def test_sha256_is_that_of_the_model_file():
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert replace(BARE, model=b"").sha256 == empty != BARE.sha256


@pytest.mark.parametrize(
    ("registered", "why"),
    [
        (BARE, "has no artifact gate.json"),
        (replace(SOUND, model=b"other trees"), "gate.json with sha256"),
        (replace(SOUND, gate=SOUND.gate | {"sha256": None}), "gate.json with sha256 None"),
        (replace(SOUND, names=CHECKOUT, tags=OF_CHECKOUT), "gate.json with model home_ranker"),
        (replace(SOUND, names=CHECKOUT), "base_margin=spend_percov rule-1, expected cart_percov"),
        (replace(SOUND, version="8"), "gate.json with version 7, expected 8"),
        (replace(SOUND, gate=FAILED.gate), "gate=failed in its artifact gate.json"),
        (replace(SOUND, gate=IDENTITY), "gate=None in its artifact gate.json"),
        (replace(SOUND, tags=FAILED.tags), "gate=failed in its tags"),
        (replace(SOUND, tags={"base_margin": TAGS["base_margin"]}), "gate=None in its tags"),
        (replace(SOUND, tags=TAGS | {"base_margin": "popularity"}), "base_margin=popularity"),
    ],
)
def test_version_is_refused_with_one_sentence_that_names_the_difference(registered, why):
    for require in (require_passed, require_servable):
        with pytest.raises(ModelError, match=why) as refused:
            require(registered)
        assert "expected" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("registered", [BARE, FAILED])
def test_permit_for_this_model_file_overrules_a_missing_or_failed_gate(registered):
    with pytest.raises(NotPassed):
        require_servable(registered)
    forced = replace(registered, forced=PERMIT)
    assert require_servable(forced) is forced


def test_tags_alone_do_not_force_a_version():
    tags = TAGS | {"promotion_forced": "the shop opens tomorrow"}
    with pytest.raises(NotPassed):
        require_servable(replace(BARE, tags=tags))


@pytest.mark.parametrize(
    "registered",
    [
        replace(SOUND, model=b"other trees", forced=PERMIT),
        replace(FAILED, model=b"other trees", forced=PERMIT),
        replace(BARE, model=b"other trees", forced=PERMIT),
        replace(BARE, forced=PERMIT | {"version": "8"}),
        replace(BARE, forced=PERMIT | {"model": "checkout_ranker"}),
        replace(SOUND, tags=TAGS | {"base_margin": "popularity"}, forced=PERMIT),
    ],
)
def test_permit_never_admits_another_model_file(registered):
    with pytest.raises(ModelError) as refused:
        require_servable(registered)
    assert not isinstance(refused.value, NotPassed)


def test_forced_version_still_counts_as_not_passed():
    with pytest.raises(NotPassed):
        require_passed(replace(FAILED, forced=PERMIT))


def test_version_of_another_feature_service_is_refused():
    for tags in ({}, {"feast.feature_service": "home_ranker_v1"}):
        version = replace(BARE, tags=tags)
        assert require_service(version) is version
    with pytest.raises(ModelError, match="home_ranker_v0, expected home_ranker_v1"):
        require_service(replace(BARE, tags={"feast.feature_service": "home_ranker_v0"}))
