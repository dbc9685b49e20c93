"""API keys and their scopes, in a file.

A key is the text ``clipwise_<id>_<secret>``. The id finds its entry in the file, the secret proves
it. The secret is 256 random bits, so the file holds only its SHA-256. A slow password hash would
protect a secret that can be guessed; random bits cannot be guessed at any speed.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_repo.files import locked, sync
from serving.errors import KeysFailed

SCOPES = ("recommend", "events", "admin")
KEY_FILE = "keys.json"

_TOKEN = re.compile(r"clipwise_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_ID, _DIGEST = re.compile(r"[0-9a-f]{8}"), re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_UNKNOWN_DIGEST = hashlib.sha256(b"").hexdigest()
"""Compared for an unknown id, so that the comparison takes the same time."""


@dataclass(frozen=True)
class Key:
    """An API key as stored in the file.

    ``digest`` is the SHA-256 of the whole key, in hex. ``per_second`` is its request rate; None
    means that of the service's settings.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    digest: str
    created_at: str
    per_second: float | None = None

    def has_scope(self, scope: str | None) -> bool:
        """True if the key has the scope. Every key has the scope None."""
        return scope is None or scope in self.scopes


class KeyRing:
    """The keys that are valid at one instant."""

    def __init__(self, keys: Collection[Key] = ()) -> None:
        self._by_id = {key.id: key for key in keys}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_id.values())

    def find(self, token: str) -> Key | None:
        """Returns the key of a token, or None.

        Its time reveals neither a partly right secret nor an existing id.
        """
        found = _TOKEN.fullmatch(token)
        key = self._by_id.get(found[1]) if found else None
        digest = key.digest if key else _UNKNOWN_DIGEST
        return key if hmac.compare_digest(_digest(token), digest) and key else None


class KeyFile:
    """The file ``CLIPWISE_HOME/keys.json`` with the keys; only its owner can read it."""

    def __init__(self, home: Path) -> None:
        self.path = home / KEY_FILE

    def exists(self) -> bool:
        """True if there ever was a key: the file stays after the last key is revoked."""
        return self.path.exists()

    def read(self) -> KeyRing:
        """Returns the keys of the file; none without a file. Raises KeysFailed."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return KeyRing()
        except UnicodeDecodeError as error:
            raise _malformed(self.path) from error
        except OSError as error:
            raise KeysFailed(f"The keys in {self.path} cannot be read: {error}.") from error
        return KeyRing([_key(self.path, entry) for entry in _entries(self.path, text)])

    def add(
        self, name: str, scopes: Collection[str], now: datetime, per_second: float | None = None
    ) -> tuple[Key, str]:
        """Adds a key; returns it and its token, which is not stored. Raises KeysFailed."""
        ordered = _checked(name, scopes, per_second)
        with self._locked() as keys:
            number, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
            token = f"clipwise_{number}_{secret}"
            key = Key(number, name, ordered, _digest(token), now.isoformat(), per_second)
            self._write([*keys, key])
        return key, token

    def revoke(self, key_id: str) -> Key:
        """Removes the key with this id and returns it. Raises KeysFailed if there is none."""
        with self._locked() as keys:
            revoked = next((key for key in keys if key.id == key_id), None)
            if revoked is None:
                raise KeysFailed(
                    f"Expected the id of a key, got {key_id!r}, which no key has; "
                    "`clipwise keys list` shows the ids."
                )
            self._write([key for key in keys if key is not revoked])
        return revoked

    @contextmanager
    def _locked(self) -> Iterator[KeyRing]:
        """Returns the keys; no other process changes them inside the block."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path.with_suffix(".lock")):
                yield self.read()
        except OSError as error:
            raise KeysFailed(f"The keys in {self.path} cannot be changed: {error}.") from error

    def _write(self, keys: Collection[Key]) -> None:
        """Replaces the file in one step, so that a reader sees the old keys or the new ones.

        Only the owner can read either file.
        """
        temporary = self.path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"keys": [asdict(key) for key in keys]}, file, indent=1)
        sync([temporary])
        os.replace(temporary, self.path)


class ReloadingKeys:
    """The keys of a file, read again after each change of the file.

    ``is_required`` becomes true with the first key and stays true. So neither a revoked last key
    nor a lost file opens the service. If the file cannot be read, the keys read before stay valid,
    and ``warn`` is called once. ``marker`` is a file that exists once there was a key: a worker
    that replaces another one reads it.
    """

    def __init__(
        self,
        file: KeyFile,
        warn: Callable[[str], None],
        is_required: bool = False,
        marker: Path | None = None,
    ) -> None:
        self._file = file
        self._warn = warn
        self._version: tuple[int, ...] | None = None
        self._ring = KeyRing()
        self._marker = marker
        self.is_required = is_required or (marker is not None and marker.exists())

    def current(self) -> KeyRing:
        """Returns the keys that are valid now. Costs one ``stat`` of the file."""
        version = self._file_version()
        if version != self._version:
            self._version = version
            if version is not None:
                self._require_keys()
            self._read()
        return self._ring

    def _require_keys(self) -> None:
        self.is_required = True
        try:
            if self._marker is not None:
                self._marker.touch()
        except OSError as error:
            self._warn(f"A worker that starts later may accept requests without a key: {error}.")

    def _file_version(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._file.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            return (error.errno or -1,)
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

    def _read(self) -> None:
        try:
            self._ring = self._file.read()
        except KeysFailed as error:
            self._warn(f"{error} The keys read before stay valid.")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _checked(name: str, scopes: Collection[str], per_second: float | None) -> tuple[str, ...]:
    if not _NAME.fullmatch(name):
        raise KeysFailed(
            f"Expected a name of 1 to 64 letters, digits, spaces and . _ -, got {name!r}."
        )
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise KeysFailed(
            f"Expected scopes among {', '.join(SCOPES)}, got {', '.join(unknown) or 'none'}."
        )
    if per_second is not None and not 0 < per_second < float("inf"):
        raise KeysFailed(f"Expected a rate of more than 0 requests per second, got {per_second}.")
    return tuple(scope for scope in SCOPES if scope in scopes)


def _entries(path: Path, text: str) -> list[Any]:
    try:
        entries = json.loads(text)["keys"]
    except (ValueError, TypeError, KeyError) as error:
        raise _malformed(path) from error
    if not isinstance(entries, list):
        raise _malformed(path)
    return entries


def _key(path: Path, entry: Any) -> Key:
    try:
        key = Key(**entry | {"scopes": tuple(entry["scopes"])})
        _checked(key.name, key.scopes, key.per_second)
        if not (_ID.fullmatch(key.id) and _DIGEST.fullmatch(key.digest)):
            raise _malformed(path)
    except (TypeError, KeyError, KeysFailed) as error:
        raise _malformed(path) from error
    return key


def _malformed(path: Path) -> KeysFailed:
    return KeysFailed(
        f"Expected the keys in {path} as `clipwise keys` writes them, found something else; "
        "restore the file, or delete it and add new keys."
    )
