"""Ingests that are killed, that readers observe, or that run at the same time."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo.lake import landing
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import LakeError
from tests.support.landing_batches import content, hashes, land, quarantined, small_batch
from tests.support.places import ROOT

# Kills itself at the nth call of a function of the landing, or at the nth return from it.
KILLED = """
import os, signal, sys
from tests.support.landing_batches import Lake, land, quarantined, small_batch

home, event, name, nth, number = sys.argv[1:]
left = int(nth)

def watch(frame, happened, what):
    global left
    called = what.__name__ if happened == "c_call" else frame.f_code.co_name
    ours = frame.f_code.co_filename.endswith(("landing.py", "delta_tables.py"))
    if ours and (happened, called) == (event, name):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

sys.setprofile(watch)
land(Lake(home), small_batch(int(number)), quarantined("q2", "q3"), released={"q1"})
"""

BUSY = """
import sys
from tests.support.landing_batches import Lake, landing

with landing.write_lock(Lake(sys.argv[1])):
    print("holding", flush=True)
    sys.stdin.read()
"""

POINTS = [
    ("call", "describe", 1),  # the rows of one table are written, nothing else
    ("return", "append", 2),  # two of three tables are written
    ("call", "write", 4),  # rows left the quarantine, none entered it
    ("call", "_publish", 1),  # all data is written, no manifest
    ("c_call", "replace", 1),  # the manifest is still a draft
]


def python(script: str, *arguments: object, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        **options,
    )


def killed(home: Path, event: str, name: str, nth: int, number: int = 2) -> None:
    assert python(KILLED, home, event, name, nth, number).wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A lake with one state, to be copied, and its content."""
    lake = Lake(tmp_path_factory.mktemp("started"))
    state, _ = land(lake, small_batch(1), quarantined("q1"))
    return lake.home, content(lake, state)


@pytest.fixture
def lake(started, tmp_path):
    shutil.copytree(started[0], tmp_path, dirs_exist_ok=True)
    return Lake(tmp_path)


def second_landed(lake: Lake):
    return land(lake, small_batch(2), quarantined("q2", "q3"), released={"q1"})[0]


@pytest.fixture(scope="module")
def undisturbed(started, tmp_path_factory):
    home = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(started[0], home, dirs_exist_ok=True)
    lake = Lake(home)
    state = second_landed(lake)
    return state, content(lake, state)


@pytest.mark.parametrize(("event", "name", "nth"), POINTS)
def test_killed_ingest_shows_nothing_and_a_second_run_gives_the_same_lake(
    lake, started, undisturbed, event, name, nth
):
    killed(lake.home, event, name, nth)
    assert lake.numbers() == [1]
    assert content(lake, lake.state()) == started[1]
    state = second_landed(lake)
    expected, expected_content = undisturbed
    assert state.number == expected.number
    assert state.watermark == expected.watermark
    assert hashes(state) == hashes(expected)
    assert content(lake, state) == expected_content
    assert content(lake, lake.state(1)) == started[1]


def test_ingest_killed_after_its_manifest_appeared_has_landed(lake, undisturbed):
    killed(lake.home, "return", "_publish", 1)
    assert content(lake, lake.state(2)) == undisturbed[1]
    assert second_landed(lake).number == 2


@pytest.mark.parametrize(("event", "name", "nth"), [POINTS[1], POINTS[-1]])
def test_killed_first_ingest_leaves_an_empty_lake_that_accepts_a_batch(tmp_path, event, name, nth):
    lake = Lake(tmp_path / "killed")
    killed(lake.home, event, name, nth, number=1)
    with pytest.raises(LakeError, match="is empty"):
        lake.state()
    state, _ = land(lake, small_batch(1), quarantined("q2", "q3"))
    other = Lake(tmp_path / "undisturbed")
    expected, _ = land(other, small_batch(1), quarantined("q2", "q3"))
    assert (state.number, hashes(state)) == (1, hashes(expected))
    assert content(lake, state) == content(other, expected)


def test_ingest_killed_twice_leaves_no_row_after_another_batch_lands(lake):
    killed(lake.home, "return", "append", 3)
    killed(lake.home, "return", "append", 2)
    only = {"users": small_batch(3)["users"]}
    state, _ = land(lake, only)
    assert sorted(lake.read("users", state)["user_id"].to_pylist()) == ["u1", "u3"]
    assert lake.read("events", state).num_rows == 4
    assert sorted(second_landed(lake).tables) == sorted([*small_batch(), "quarantine"])
    assert sorted(lake.read("users", lake.state())["user_id"].to_pylist()) == ["u1", "u2", "u3"]


def test_readers_see_the_complete_old_state_until_the_new_one_is_complete(lake, started):
    held, before, seen = lake.state(), started[1], []

    def look(frame, event, _):
        if event == "return" and frame.f_code.co_name == "append":
            seen.append((lake.state().number, content(lake, lake.state()) == before))

    previous = sys.getprofile()
    sys.setprofile(look)
    try:
        state = second_landed(lake)
    finally:
        sys.setprofile(previous)
    assert len(seen) == 3
    assert set(seen) == {(1, True)}
    assert content(lake, held) == before
    assert content(lake, state) != before


def test_second_ingest_at_the_same_time_is_refused_with_one_sentence(lake):
    holder = python(BUSY, lake.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(landing.LakeBusy, match="Another ingest is writing to .* wait until"):
            second_landed(lake)
        assert lake.state().number == 1
    finally:
        holder.kill()
        holder.communicate()
    assert second_landed(lake).number == 2


def test_ingest_that_fails_frees_the_lock(lake):
    with pytest.raises(ZeroDivisionError), landing.write_lock(lake):
        raise ZeroDivisionError
    assert second_landed(lake).number == 2


def test_two_lakes_do_not_block_each_other(tmp_path):
    with landing.write_lock(Lake(tmp_path / "one")):
        assert land(Lake(tmp_path / "other"), small_batch())[0].number == 1
