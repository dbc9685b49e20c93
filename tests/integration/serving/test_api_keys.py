"""The file of API keys: its contents, its permissions and its changes."""

import json
import multiprocessing
import stat
from datetime import UTC, datetime

import pytest

from serving.access.api_keys import KeyFile, ReloadingKeys
from serving.errors import KeysFailed

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def file(tmp_path):
    return KeyFile(tmp_path)


def test_key_is_found_by_its_token(file):
    key, token = file.add("shop", ["events", "recommend"], NOW, 5.0)
    assert file.read().find(token) == key
    assert (key.name, key.scopes, key.per_second) == ("shop", ("recommend", "events"), 5.0)
    assert key.has_scope("events") and key.has_scope(None) and not key.has_scope("admin")


def test_file_holds_a_hash_and_only_its_owner_can_read_it(file):
    _, token = file.add("shop", ["admin"], NOW)
    assert token.split("_", 2)[2] not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.path.chmod(0o644)
    file.add("other", ["admin"], NOW)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in file.path.parent.glob("*.tmp")] == []


def test_every_key_is_different(file):
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


def test_revoked_key_is_not_found_and_the_others_are(file):
    gone, lost = file.add("gone", ["admin"], NOW)
    _, kept = file.add("kept", ["admin"], NOW)
    assert file.revoke(gone.id).name == "gone"
    assert file.read().find(lost) is None and file.read().find(kept).name == "kept"
    with pytest.raises(KeysFailed, match="clipwise keys list"):
        file.revoke(gone.id)


@pytest.mark.parametrize(
    ("name", "scopes", "rate", "refusal"),
    [
        ("", ["admin"], None, "a name of 1 to 64"),
        ("a\nb", ["admin"], None, "a name of 1 to 64"),
        ("shop", [], None, "Expected scopes among recommend, events, admin, got none"),
        ("shop", ["admin", "root"], None, "got root"),
        ("shop", ["admin"], 0.0, "rate of more than 0 requests"),
        ("shop", ["admin"], float("nan"), "rate of more than 0 requests"),
    ],
)
def test_invalid_key_is_refused(file, name, scopes, rate, refusal):
    with pytest.raises(KeysFailed, match=refusal):
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
def test_malformed_file_is_refused_in_one_sentence(file, text):
    file.path.write_text(text)
    with pytest.raises(KeysFailed, match="restore the file"):
        file.read()
    with pytest.raises(KeysFailed, match="restore the file"):
        file.add("shop", ["admin"], NOW)
    assert file.path.read_text() == text


def test_file_that_is_no_text_leaves_the_keys_valid(file, keys, warnings):
    _, token = file.add("shop", ["admin"], NOW)
    keys.current()
    file.path.write_bytes(b"\xff\xfe{")
    assert keys.current().find(token) and len(warnings) == 1
    with pytest.raises(KeysFailed, match="restore the file"):
        file.read()


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeysFailed, match="cannot be changed"):
        KeyFile(tmp_path / "file").add("shop", ["admin"], NOW)


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def keys(file, warnings):
    return ReloadingKeys(file, warnings.append)


def test_change_of_the_file_is_seen_by_the_next_request(file, keys):
    assert not len(keys.current()) and not keys.is_required
    first, old = file.add("shop", ["admin"], NOW)
    assert keys.current().find(old) and keys.is_required
    _, new = file.add("shop", ["admin"], NOW)
    assert keys.current().find(old) and keys.current().find(new)
    file.revoke(first.id)
    assert keys.current().find(old) is None and keys.current().find(new)


def test_broken_file_leaves_the_keys_valid_and_warns_once(file, keys, warnings):
    _, token = file.add("shop", ["admin"], NOW)
    keys.current()
    file.path.write_text("{")
    for _ in range(3):
        assert keys.current().find(token)
    assert len(warnings) == 1 and "stay valid" in warnings[0]


def test_keys_stay_required_after_the_last_one_is_gone(file, keys):
    key, _ = file.add("shop", ["admin"], NOW)
    keys.current()
    file.revoke(key.id)
    assert not len(keys.current()) and keys.is_required
    file.path.unlink()
    assert not len(keys.current()) and keys.is_required
    assert not ReloadingKeys(file, print).is_required


def test_keys_can_be_required_from_the_start(file):
    keys = ReloadingKeys(file, print, is_required=True)
    assert not len(keys.current()) and keys.is_required


def test_replacement_worker_requires_keys_once_there_was_one(file, tmp_path):
    marker = tmp_path / "keyed"
    first = ReloadingKeys(file, print, marker=marker)
    first.current()
    assert not first.is_required and not ReloadingKeys(file, print, marker=marker).is_required
    file.add("shop", ["admin"], NOW)
    first.current()
    file.path.unlink()
    later = ReloadingKeys(file, print, marker=marker)
    assert not len(later.current()) and later.is_required


def test_marker_that_cannot_be_written_warns(file, warnings, tmp_path):
    file.add("shop", ["admin"], NOW)
    keys = ReloadingKeys(file, warnings.append, marker=tmp_path / "gone" / "keyed")
    assert len(keys.current()) == 1 and keys.is_required
    assert len(warnings) == 1 and "may accept requests without a key" in warnings[0]
