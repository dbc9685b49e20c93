"""The audit log records each change once, and a crash loses no recorded change."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from serving.errors import AuditFailed, ModelError
from serving.models.audit import (
    FORCED,
    NOT_RECORDED,
    OUTSIDE,
    PROMOTE,
    ROLLBACK,
    AuditLog,
    previous_champion,
)
from tests.support.places import ROOT

MODEL = "home_ranker"
NOON = datetime(2018, 1, 1, 12, tzinfo=UTC)


@dataclass
class FakeAliases:
    """An alias champion and the reasons of versions; ``reads`` counts reads of the alias."""

    champion: str | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    down: bool = False
    reads: int = 0

    def champion_version(self) -> str | None:
        self.reads += 1
        if self.down:
            raise ModelError("The registry does not answer.")
        return self.champion

    def promotion_reason(self, version: str) -> str | None:
        return self.reasons.get(version)


@pytest.fixture
def aliases():
    return FakeAliases()


@pytest.fixture
def audit(tmp_path, aliases):
    return AuditLog(tmp_path, {MODEL: aliases}, lambda: NOON)


def change(audit, aliases, version, how=PROMOTE):
    with audit.record_change(MODEL, version, "ada", "it is better", how):
        aliases.champion = version


def steps(audit):
    return [(one.previous, one.version, one.how) for one in audit.changes()]


def test_nothing_is_recorded_while_there_is_no_champion(audit, tmp_path):
    audit.check()
    assert audit.changes() == [] and not (tmp_path / "audit").exists()


def test_promotion_records_actor_time_versions_and_reason(audit, aliases, tmp_path):
    change(audit, aliases, "1")
    change(audit, aliases, "2", FORCED)
    lines = (tmp_path / "audit" / "champion.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "model": "home_ranker",
            "at": "2018-01-01T12:00:00+00:00",
            "actor": "ada",
            "from": previous,
            "to": version,
            "reason": "it is better",
            "how": how,
            "seen_at": "2018-01-01T12:00:00+00:00",
        }
        for previous, version, how in ((None, "1", "promote"), ("1", "2", "forced"))
    ]
    assert [one.json_line() for one in audit.changes()] == [f"{line}\n" for line in lines]


def test_change_made_outside_is_recorded_once_with_the_time_of_the_record_and_the_tag(
    audit, aliases
):
    change(audit, aliases, "1")
    aliases.champion, aliases.reasons = "3", {"3": "looks right to me"}
    for _ in range(3):
        audit.check()
    assert len(audit.changes()) == 2
    seen = audit.changes()[-1]
    assert (seen.previous, seen.version, seen.how) == ("1", "3", OUTSIDE)
    assert (seen.at, seen.actor, seen.seen_at) == (None, NOT_RECORDED, NOON)
    assert seen.reason == "looks right to me"


def test_alias_removed_outside_is_recorded_as_a_change_to_none(audit, aliases):
    change(audit, aliases, "1")
    aliases.champion = None
    audit.check()
    assert steps(audit)[-1] == ("1", None, OUTSIDE)


def test_promotion_first_records_an_earlier_change_made_outside(audit, aliases):
    change(audit, aliases, "1")
    aliases.champion = "2"
    change(audit, aliases, "3")
    assert steps(audit)[1:] == [("1", "2", OUTSIDE), ("2", "3", PROMOTE)]


def test_failed_change_is_not_recorded(audit, aliases):
    with pytest.raises(ModelError), audit.record_change(MODEL, "1", "ada", "why", PROMOTE):
        raise ModelError("The registry does not answer.")
    assert audit.changes() == []


def test_no_promotion_while_the_registry_does_not_answer(audit, aliases):
    aliases.down = True
    with pytest.raises(ModelError):
        change(audit, aliases, "1")
    assert aliases.champion is None and audit.changes() == []


def test_unwritable_log_stops_a_promotion_before_the_alias_changes(aliases, tmp_path):
    (tmp_path / "audit").write_text("in the way")
    with pytest.raises(AuditFailed, match="could not be used"):
        change(AuditLog(tmp_path, {MODEL: aliases}, lambda: NOON), aliases, "1")
    assert aliases.champion is None


@pytest.mark.parametrize("cut", [b'{"at": "2018-01', b"\xff\xfe", b'{"at": null}'])
def test_line_cut_off_by_a_crash_stays_and_hides_no_other_line(audit, aliases, tmp_path, cut):
    change(audit, aliases, "1")
    file = tmp_path / "audit" / "champion.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + cut)
    assert steps(audit) == [(None, "1", PROMOTE)]
    change(audit, aliases, "2")
    assert steps(audit) == [(None, "1", PROMOTE), ("1", "2", PROMOTE)]
    assert file.read_bytes().startswith(whole + cut + b"\n")


def test_recorded_lines_are_never_changed(audit, aliases, tmp_path):
    file, earlier = tmp_path / "audit" / "champion.jsonl", b""
    for version in ("1", "2", "1"):
        change(audit, aliases, version)
        assert file.read_bytes().startswith(earlier)
        earlier = file.read_bytes()


def test_threads_that_check_at_once_record_an_outside_change_once(tmp_path):
    aliases = FakeAliases("5")
    logs = [AuditLog(tmp_path, {MODEL: aliases}, lambda: NOON) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(AuditLog.check, logs))
    assert steps(logs[0]) == [(None, "5", OUTSIDE)]


CHECK = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from serving.models.audit import AuditLog

class Aliases:
    def champion_version(self): return "5"
    def promotion_reason(self, version): time.sleep(0.2); return None

AuditLog(Path(sys.argv[1]), {"home_ranker": Aliases()}, lambda: datetime.now(UTC)).check()
"""


def test_two_processes_that_check_at_once_record_an_outside_change_once(tmp_path, audit):
    command = [sys.executable, "-c", CHECK, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [one.wait(timeout=60) for one in both] == [0, 0]
    assert steps(audit) == [(None, "5", OUTSIDE)]


def test_check_during_a_promotion_waits_and_records_no_outside_change(audit, aliases, tmp_path):
    change(audit, aliases, "1")
    with ThreadPoolExecutor(1) as pool:
        with audit.record_change(MODEL, "2", "ada", "why", PROMOTE):
            aliases.champion, reads = "2", aliases.reads
            check = pool.submit(AuditLog(tmp_path, {MODEL: aliases}, lambda: NOON).check)
            while aliases.reads == reads:
                pass
        check.result(timeout=10)
    assert steps(audit) == [(None, "1", PROMOTE), ("1", "2", PROMOTE)]


def test_models_share_the_file_and_each_change_names_its_model(tmp_path):
    home, checkout = FakeAliases(), FakeAliases("9")
    both = AuditLog(tmp_path, {MODEL: home, "checkout_ranker": checkout}, lambda: NOON)
    for version in ("1", "2"):
        change(both, home, version)
        both.check()
    checkout.champion = "10"
    both.check()
    assert [(one.model, one.previous, one.version) for one in both.changes()] == [
        ("home_ranker", None, "1"),
        ("checkout_ranker", None, "9"),
        ("home_ranker", "1", "2"),
        ("checkout_ranker", "9", "10"),
    ]
    assert previous_champion(both.changes(), MODEL) == "1"
    assert previous_champion(both.changes(), "checkout_ranker") == "9"


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], None),
        ([("1", PROMOTE)], None),
        ([("1", PROMOTE), ("2", PROMOTE)], "1"),
        ([("1", PROMOTE), ("2", OUTSIDE), ("3", FORCED)], "2"),
        ([("1", PROMOTE), ("2", PROMOTE), ("2", FORCED)], "1"),
        ([("1", PROMOTE), ("2", PROMOTE), ("3", PROMOTE), ("2", ROLLBACK)], "1"),
        ([("1", PROMOTE), ("2", PROMOTE), ("1", ROLLBACK)], None),
        ([("1", PROMOTE), ("2", PROMOTE), ("1", ROLLBACK), ("3", PROMOTE)], "1"),
        ([("1", PROMOTE), ("2", PROMOTE), ("1", PROMOTE)], "2"),
        ([("1", PROMOTE), (None, OUTSIDE)], "1"),
        ([("1", PROMOTE), (None, OUTSIDE), ("2", PROMOTE)], "1"),
    ],
)
def test_rollback_goes_one_champion_back_and_never_to_a_version_that_it_left(
    audit, aliases, history, expected
):
    for version, how in history:
        change(audit, aliases, version, how)
    assert previous_champion(audit.changes(), MODEL) == expected
