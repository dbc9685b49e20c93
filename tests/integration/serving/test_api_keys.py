"""The file of API keys: what it holds, who can read it, and what happens when it changes."""

import json
import multiprocessing
import stat
from datetime import UTC, datetime

import pytest

from serving.access.api_keys import KeyFile, WatchedKeys
from serving.errors import KeysFailed

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def file(tmp_path):
    return KeyFile(tmp_path)


def test_key_is_found_by_what_its_holder_was_shown(file):
    key, token = file.add("shop", ["events", "recommend"], NOW, 5.0)
    assert file.read().holder(token) == key
    assert (key.name, key.scopes, key.per_second) == ("shop", ("recommend", "events"), 5.0)
    assert key.opens("events") and key.opens(None) and not key.opens("admin")


def test_file_holds_a_hash_and_only_its_owner_reads_it(file):
    _, token = file.add("shop", ["admin"], NOW)
    assert token.split("_", 2)[2] not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.path.chmod(0o644)
    file.add("other", ["admin"], NOW)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in file.path.parent.glob("*.tmp")] == []


def test_no_two_keys_are_alike(file):
    tokens = {file.add("shop", ["admin"], NOW)[1] for _ in range(20)}
    assert len(tokens) == 20 and len(file.read()) == 20


def _add(folder, count):
    for _ in range(count):
        KeyFile(folder).add("shop", ["admin"], NOW)


def test_keys_that_several_processes_add_are_all_kept(file):
    context = multiprocessing.get_context("fork")
    adding = [context.Process(target=_add, args=(file.path.parent, 10)) for _ in range(4)]
    for process in adding:
        process.start()
    for process in adding:
        process.join()
    assert len(file.read()) == 40


def test_revoked_key_opens_nothing_and_the_others_still_do(file):
    gone, lost = file.add("gone", ["admin"], NOW)
    _, kept = file.add("kept", ["admin"], NOW)
    assert file.revoke(gone.id).name == "gone"
    assert file.read().holder(lost) is None and file.read().holder(kept).name == "kept"
    with pytest.raises(KeysFailed, match="clipwise keys list"):
        file.revoke(gone.id)


@pytest.mark.parametrize(
    ("name", "scopes", "rate", "said"),
    [
        ("", ["admin"], None, "a name of 1 to 64"),
        ("a\nb", ["admin"], None, "a name of 1 to 64"),
        ("shop", [], None, "Expected scopes among recommend, events, admin, got none"),
        ("shop", ["admin", "root"], None, "got root"),
        ("shop", ["admin"], 0.0, "more than 0 requests"),
        ("shop", ["admin"], float("nan"), "more than 0 requests"),
    ],
)
def test_key_that_makes_no_sense_is_refused(file, name, scopes, rate, said):
    with pytest.raises(KeysFailed, match=said):
        file.add(name, scopes, NOW, rate)
    assert not file.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"keys": 1}',
        '{"keys": [1]}',
        '{"keys": [{"id": "x"}]}',
        json.dumps({"keys": [{"id": "1", "name": "s", "scopes": ["admin"], "digest": 1}]}),
    ],
)
def test_file_that_is_not_ours_is_refused_in_one_sentence(file, text):
    file.path.write_text(text)
    with pytest.raises(KeysFailed, match="restore the file"):
        file.read()
    with pytest.raises(KeysFailed, match="restore the file"):
        file.add("shop", ["admin"], NOW)
    assert file.path.read_text() == text


def test_file_of_bytes_that_are_no_text_leaves_the_keys_in_force(file, watched, complaints):
    _, token = file.add("shop", ["admin"], NOW)
    watched.current()
    file.path.write_bytes(b"\xff\xfe{")
    assert watched.current().holder(token) and len(complaints) == 1
    with pytest.raises(KeysFailed, match="restore the file"):
        file.read()


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeysFailed, match="cannot be changed"):
        KeyFile(tmp_path / "file").add("shop", ["admin"], NOW)


@pytest.fixture
def complaints():
    return []


@pytest.fixture
def watched(file, complaints):
    return WatchedKeys(file, complaints.append)


def test_change_shows_at_the_next_look(file, watched):
    assert not len(watched.current()) and not watched.required
    first, old = file.add("shop", ["admin"], NOW)
    assert watched.current().holder(old) and watched.required
    _, new = file.add("shop", ["admin"], NOW)
    assert watched.current().holder(old) and watched.current().holder(new)
    file.revoke(first.id)
    assert watched.current().holder(old) is None and watched.current().holder(new)


def test_file_that_breaks_leaves_the_keys_in_force_and_is_told_once(file, watched, complaints):
    _, token = file.add("shop", ["admin"], NOW)
    watched.current()
    file.path.write_text("{")
    for _ in range(3):
        assert watched.current().holder(token)
    assert len(complaints) == 1 and "stay in force" in complaints[0]


def test_once_there_was_a_key_the_doors_stay_shut(file, watched):
    key, _ = file.add("shop", ["admin"], NOW)
    watched.current()
    file.revoke(key.id)
    assert not len(watched.current()) and watched.required
    file.path.unlink()
    assert not len(watched.current()) and watched.required
    assert not WatchedKeys(file, print).required


def test_service_that_others_reach_needs_keys_from_the_start(file):
    watched = WatchedKeys(file, print, required=True)
    assert not len(watched.current()) and watched.required


def test_worker_in_the_place_of_another_knows_that_there_was_a_key(file, tmp_path):
    mark = tmp_path / "keyed"
    first = WatchedKeys(file, print, mark=mark)
    first.current()
    assert not first.required and not WatchedKeys(file, print, mark=mark).required
    file.add("shop", ["admin"], NOW)
    first.current()
    file.path.unlink()
    later = WatchedKeys(file, print, mark=mark)
    assert not len(later.current()) and later.required


def test_mark_that_cannot_be_left_is_told(file, complaints, tmp_path):
    file.add("shop", ["admin"], NOW)
    watched = WatchedKeys(file, complaints.append, mark=tmp_path / "gone" / "keyed")
    assert len(watched.current()) == 1 and watched.required
    assert len(complaints) == 1 and "may not know" in complaints[0]
