"""API keys: who may call the service, and for what.

A key reads ``clipwise_<id>_<secret>``: the id finds it in the file, the secret shows whose it is.
The secret is 256 random bits, so the file keeps nothing but its SHA-256: a slow password hash slows
down guessing, and random bits cannot be guessed at any speed.
"""

import fcntl
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

from serving.errors import KeysFailed

SCOPES = ("recommend", "events", "admin")
KEY_FILE = "keys.json"

_TOKEN = re.compile(r"clipwise_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_ID, _DIGEST = re.compile(r"[0-9a-f]{8}"), re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_NOBODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Key:
    """A key as the file holds it: ``digest`` is the SHA-256 of the whole key, in hex.

    ``per_second`` is how many requests it may make a second, None for the service's own setting.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    digest: str
    created_at: str
    per_second: float | None = None

    def opens(self, scope: str | None) -> bool:
        """Whether the key has the scope; every key has None."""
        return scope is None or scope in self.scopes


class KeyRing:
    """A set of keys at one instant."""

    def __init__(self, keys: Collection[Key] = ()) -> None:
        self._by_id = {key.id: key for key in keys}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_id.values())

    def holder(self, token: str) -> Key | None:
        """The key that a caller showed, or None.

        The time it takes says nothing of how much of a secret was right, nor whether the id exists.
        """
        found = _TOKEN.fullmatch(token)
        key = self._by_id.get(found[1]) if found else None
        digest = key.digest if key else _NOBODY
        return key if hmac.compare_digest(_digest(token), digest) and key else None


class KeyFile:
    """The keys in ``CLIPWISE_HOME/keys.json``, which only its owner can read."""

    def __init__(self, home: Path) -> None:
        self.path = home / KEY_FILE

    def exists(self) -> bool:
        """Whether there ever was a key; after the last one is revoked the file stays."""
        return self.path.exists()

    def read(self) -> KeyRing:
        """The keys there are now; none without a file. Raises KeysFailed."""
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
        """A new key and what its holder sends, which is nowhere else. Raises KeysFailed."""
        chosen = _checked(name, scopes, per_second)
        with self._locked() as keys:
            number, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
            token = f"clipwise_{number}_{secret}"
            key = Key(number, name, chosen, _digest(token), now.isoformat(), per_second)
            self._write([*keys, key])
        return key, token

    def revoke(self, key_id: str) -> Key:
        """Take the key of that id out. Raises KeysFailed if there is none."""
        with self._locked() as keys:
            gone = next((key for key in keys if key.id == key_id), None)
            if gone is None:
                raise KeysFailed(
                    f"Expected the id of a key, got {key_id!r}, which no key has; "
                    "`clipwise keys list` shows the ids."
                )
            self._write([key for key in keys if key is not gone])
        return gone

    @contextmanager
    def _locked(self) -> Iterator[KeyRing]:
        """The keys, which no other process changes meanwhile."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self.read()
        except OSError as error:
            raise KeysFailed(f"The keys in {self.path} cannot be changed: {error}.") from error

    def _write(self, keys: Collection[Key]) -> None:
        """Readers see the old file or the new one, and nobody else reads either."""
        temporary = self.path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"keys": [asdict(key) for key in keys]}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)


class WatchedKeys:
    """The keys of a file, read again whenever it changes.

    ``required`` says whether callers need one: from the first key on, and for good, so that neither
    revoking the last key nor losing the file opens the service. A file that cannot be read changes
    nothing: the keys before it stay, and ``complain`` hears of it once. ``mark`` is a file that
    tells a worker which takes another's place that there was a key.
    """

    def __init__(
        self,
        file: KeyFile,
        complain: Callable[[str], None],
        required: bool = False,
        mark: Path | None = None,
    ) -> None:
        self._file = file
        self._complain = complain
        self._seen: tuple[int, ...] | None = None
        self._ring = KeyRing()
        self._mark = mark
        self.required = required or (mark is not None and mark.exists())

    def current(self) -> KeyRing:
        """The keys now. Costs one look at the file's inode."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            if seen is not None:
                self._shut()
            self._read()
        return self._ring

    def _shut(self) -> None:
        self.required = True
        try:
            if self._mark is not None:
                self._mark.touch()
        except OSError as error:
            self._complain(f"A worker that starts later may not know of the keys: {error}.")

    def _look(self) -> tuple[int, ...] | None:
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
            self._complain(f"{error} The keys known before stay in force.")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _checked(name: str, scopes: Collection[str], per_second: float | None) -> tuple[str, ...]:
    if not _NAME.fullmatch(name):
        raise KeysFailed(
            f"Expected a name of 1 to 64 letters, digits, blanks and . _ -, got {name!r}."
        )
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise KeysFailed(
            f"Expected scopes among {', '.join(SCOPES)}, got {', '.join(unknown) or 'none'}."
        )
    if per_second is not None and not 0 < per_second < float("inf"):
        raise KeysFailed(f"Expected more than 0 requests a second, got {per_second}.")
    return tuple(scope for scope in SCOPES if scope in scopes)


def _entries(path: Path, text: str) -> list[object]:
    try:
        entries = json.loads(text)["keys"]
    except (ValueError, TypeError, KeyError) as error:
        raise _malformed(path) from error
    if not isinstance(entries, list):
        raise _malformed(path)
    return entries


def _key(path: Path, entry: object) -> Key:
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
