"""The ledger in an SQLite file: shared by the threads and processes of one machine.

Every change is one transaction that first takes the write lock. So no other writer changes the rows
between its reads and its writes. `sqlite_statements` has the tables.
"""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.errors import StorageFailed, translated
from serving.ledger import sqlite_statements as sql
from serving.ledger.ledger import END_OF_TIME, Claim, Redemption, Usage
from serving.ledger.usage_sums import UsageSums

WAIT_SECONDS = 1.0
"""Longest wait of a request for the write lock."""

_DRIVER_ERRORS = (sqlite3.Error, OSError)


class SqliteLedger:
    """A ledger in the file ``path``, which the first call creates.

    A reservation expires after ``seconds`` on the clock ``now``, which returns microseconds. Each
    thread has a connection of its own.
    """

    def __init__(self, path: Path, seconds: float, now: Callable[[], int]) -> None:
        self._path = path
        self._life = round(seconds * 1_000_000)
        self._now = now
        self._local = threading.local()
        self._sums = UsageSums()
        self._lock = threading.Lock()

    def usage(self, user_id: str, since: int, until: int, holder: str | None = None) -> Usage:
        """See ``Ledger``."""
        with translated(_DRIVER_ERRORS, self._failure):
            connection = self._connection()
            if connection.execute(sql.EXPIRED, (self._now(),)).fetchone():
                with self._writing() as change:
                    _sweep(change, self._now())
            sums = self._current_sums(connection)
            key = (user_id, since, until, holder or user_id)
            return _of_user(connection, key, sums.uses, sums.spent)

    def claim(
        self, user_id: str, claims: Sequence[Claim], at: int, holder: str | None = None
    ) -> dict[str, str]:
        """See ``Ledger``."""
        failed: dict[str, str] = {}
        holder = holder or user_id
        with translated(_DRIVER_ERRORS, self._failure), self._writing() as change:
            _sweep(change, self._now())
            usage = _for_claims(change, user_id, holder, claims, at)
            for claim in claims:
                rule = usage.failed_rule(claim, at)
                if rule is not None:
                    failed[claim.coupon_id] = rule
                elif claim.reserved:
                    change.count(*usage.reserve(claim))
            taken = [one for one in claims if one.coupon_id not in failed]
            _store_reservations(change, holder, taken, self._now() + self._life)
            _store_impressions(change, holder, taken, at)
        return failed

    def redeem(self, redemptions: Sequence[Redemption], corrects: bool = True) -> None:
        """See ``Ledger``."""
        with translated(_DRIVER_ERRORS, self._failure), self._writing() as change:
            for one in redemptions:
                _enter(change, one, corrects)

    def take_back(self, redemption_ids: Sequence[str], keeps_use: bool = False) -> None:
        """See ``Ledger``."""
        with translated(_DRIVER_ERRORS, self._failure), self._writing() as change:
            for one in redemption_ids:
                _take_back(change, one, keeps_use)

    def identity(self) -> str:
        """See ``Ledger``."""
        with translated(_DRIVER_ERRORS, self._failure):
            return self._connection().execute(sql.IDENTITY).fetchone()[0]

    def close(self) -> None:
        """Closes this thread's connection; the next call opens another."""
        connection = self._local.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=WAIT_SECONDS, isolation_level=None)
            connection.execute("pragma journal_mode = wal")
            # A power loss can lose the last reservations; redemptions are fed again.
            connection.execute("pragma synchronous = normal")
            # A check first, so that a reader does not wait for a writer.
            if connection.execute("pragma user_version").fetchone()[0] < sql.LAYOUT:
                connection.executescript(sql.CREATE)
            self._local.connection = connection
        return connection

    @contextmanager
    def _writing(self) -> Iterator["_Change"]:
        """Runs the block as one atomic change, under the write lock."""
        connection = self._connection()
        connection.execute("begin immediate")
        try:
            change = _Change(connection)
            yield change
            change.flush()
            connection.execute("commit")
        except BaseException:
            connection.execute("rollback")
            raise

    def _current_sums(self, connection: sqlite3.Connection) -> UsageSums:
        """Updates the sums by the changes of all processes since the last call."""
        with self._lock:
            sums = self._sums
            uses: dict[str, int] = {}
            spent: dict[str, int] = {}
            last = sums.change
            for is_campaign, key, value, change in connection.execute(sql.CHANGED_SUMS, (last,)):
                (spent if is_campaign else uses)[key] = value
                last = max(last, change)
            sums.update(last, uses, spent)
            return sums

    def _failure(self, error: Exception) -> StorageFailed:
        """Drops the connection and the sums, so that the next call starts anew."""
        self.close()
        self._sums = UsageSums()
        return StorageFailed(
            f"The ledger {self._path.name} could not be used ({error}); coupons with limits are "
            "not shown until it can."
        )


class _Change:
    """A write transaction, with the changes of the sums that it will store."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._uses: Counter[str] = Counter()
        self._spent: Counter[str] = Counter()

    def count(self, coupon_id: str, uses: int, campaign_id: str, amount: int) -> None:
        """Adds to the uses of a coupon and to the spend of its campaign (minor units)."""
        self._uses[coupon_id] += uses
        self._spent[campaign_id] += amount

    def flush(self) -> None:
        """Stores the changed sums, under one change number."""
        sums = ((sql.ADD_USES, self._uses), (sql.ADD_SPENT, self._spent))
        if any(any(counts.values()) for _, counts in sums):
            ((number,),) = self.connection.execute(sql.NEXT_CHANGE).fetchall()
            for statement, counts in sums:
                rows = [(key, more, number) for key, more in counts.items() if more]
                self.connection.executemany(statement, rows)
        self._uses.clear()
        self._spent.clear()


def _of_user(
    connection: sqlite3.Connection,
    key: tuple[str, int, int, str],
    uses: dict[str, int],
    spent: dict[str, int],
) -> Usage:
    """Reads the usage of a user, with these sums over all users.

    ``key`` are the user, the bounds of ``Ledger.usage``, and the holder of reservations.
    """
    parts: tuple[list[Any], ...] = ([], [], [], [])
    spent_on_user: dict[str, int] = {}
    for part, coupon_id, at, campaign_id, amount in connection.execute(sql.OF_USER, key):
        is_reservation = part == sql.RESERVATION
        parts[part].append((coupon_id, campaign_id, amount) if is_reservation else (coupon_id, at))
        spent_on_user[campaign_id] = spent_on_user.get(campaign_id, 0) + amount
    redeemed, held, seen, back = parts
    mine = {coupon_id: (campaign_id, amount) for coupon_id, campaign_id, amount in held}
    taken_back = [coupon_id for coupon_id, _ in back]
    return Usage(uses, spent, spent_on_user, redeemed, seen, mine, taken_back)


def _for_claims(
    change: _Change, user_id: str, holder: str, claims: Sequence[Claim], at: int
) -> Usage:
    """Reads the usage that the limits of claims are checked against, in this transaction."""
    change.flush()
    run = change.connection.execute
    coupons = json.dumps([claim.coupon_id for claim in claims])
    campaigns = json.dumps([claim.campaign_id for claim in claims])
    uses, spent = dict(run(sql.USES, (coupons,))), dict(run(sql.SPENT, (campaigns,)))
    since = at - max((claim.impression_period for claim in claims), default=0)
    return _of_user(change.connection, (user_id, since, END_OF_TIME, holder), uses, spent)


def _store_reservations(
    change: _Change, holder: str, claims: Sequence[Claim], expires: int
) -> None:
    rows = [
        (holder, claim.coupon_id, claim.campaign_id, claim.cost, expires)
        for claim in claims
        if claim.reserved
    ]
    change.connection.executemany(sql.RESERVE, rows)


def _store_impressions(change: _Change, holder: str, claims: Sequence[Claim], at: int) -> None:
    """Stores impressions, and deletes those older than their period."""
    rows = [
        (holder, claim.coupon_id, at, at + claim.impression_period)
        for claim in claims
        if claim.impression_period
    ]
    if rows:
        change.connection.executemany(sql.ADD_IMPRESSION, rows)
        change.connection.execute(sql.FORGET_IMPRESSIONS, (at,))


def _sweep(change: _Change, now: int) -> None:
    """Ends the expired reservations."""
    for coupon_id, campaign_id, amount in change.connection.execute(sql.SWEEP, (now,)).fetchall():
        change.count(coupon_id, -1, campaign_id, -amount)


def _enter(change: _Change, one: Redemption, corrects: bool) -> None:
    """Stores a redemption, unless the same one is there or it must not correct another."""
    run = change.connection.execute
    old = run(sql.STORED_REDEMPTION, (one.redemption_id,)).fetchone()
    amount = one.amount
    if corrects:
        run(sql.GIVE_AGAIN, (one.redemption_id,))
    elif (back := run(sql.TAKEN_BACK, (one.redemption_id,)).fetchone()) is not None:
        run(sql.NAME_TAKEN_BACK, (one.user_id, one.coupon_id, one.redemption_id))
        if not back[0]:
            _release(change, one)
            return
        amount = 0
    new = (one.coupon_id, one.campaign_id, amount, one.user_id, one.at)
    if old == new or (old is not None and not corrects):
        return
    # Only a new redemption can use the reservation; a correction is of an older use.
    if old:
        change.count(old[0], -1, old[1], -old[2])
    else:
        _release(change, one)
    row = (one.redemption_id, one.user_id, one.coupon_id, one.campaign_id, one.at, amount)
    run(sql.ENTER_REDEMPTION, row)
    change.count(one.coupon_id, 1, one.campaign_id, amount)


def _release(change: _Change, one: Redemption) -> None:
    """Ends the reservation that a redemption uses."""
    key = (one.user_id, one.holder or one.user_id, one.coupon_id)
    for coupon_id, campaign_id, amount in change.connection.execute(sql.RELEASE, key).fetchall():
        change.count(coupon_id, -1, campaign_id, -amount)


def _take_back(change: _Change, redemption_id: str, keeps_use: bool) -> None:
    """Notes that a redemption was taken back, and gives back what it cost if it is stored."""
    run = change.connection.execute
    noted = run(sql.TAKEN_BACK, (redemption_id,)).fetchone()
    old = run(sql.STORED_REDEMPTION, (redemption_id,)).fetchone()
    if old is None:
        if noted is None:
            run(sql.TAKE_BACK, (redemption_id, "", "", keeps_use))
        return
    coupon_id, campaign_id, amount, user_id, _ = old
    run(sql.TAKE_BACK, (redemption_id, user_id, coupon_id, keeps_use))
    run(sql.REMOVE_AMOUNT if keeps_use else sql.REMOVE_REDEMPTION, (redemption_id,))
    change.count(coupon_id, 0 if keeps_use else -1, campaign_id, -amount)
