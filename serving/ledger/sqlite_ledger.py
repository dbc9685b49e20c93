"""The ledger in an SQLite file: shared by the threads and processes of one machine.

Uses of a coupon and what a campaign spent are kept as running sums, each with the number of the
change that made it: a process remembers them and reads only what changed since it last looked.
Every change is one transaction that begins by taking the write lock, so what it reads is what it
changes.
"""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from serving.errors import StorageFailed
from serving.ledger.ledger import EVER, Claim, Redemption, Usage

WAIT_SECONDS = 1.0
"""How long a request waits for the write lock, at most."""

_LAYOUT = 2
_CREATE = f"""
begin immediate;
create table if not exists redemptions (
    redemption_id text primary key, user_id text not null, coupon_id text not null,
    campaign_id text not null, at integer not null, amount integer not null
) without rowid;
create index if not exists redemptions_of_user on redemptions (user_id);
create table if not exists reservations (
    user_id text, coupon_id text, campaign_id text not null, amount integer not null,
    expires integer not null, primary key (user_id, coupon_id)
) without rowid;
create index if not exists reservations_by_end on reservations (expires);
create table if not exists impressions (
    user_id text not null, coupon_id text not null, at integer not null, forget integer not null);
create index if not exists impressions_of_user on impressions (user_id, at);
create index if not exists impressions_by_end on impressions (forget);
create table if not exists uses (
    coupon_id text primary key, count integer not null, change integer not null) without rowid;
create index if not exists uses_by_change on uses (change);
create table if not exists spent (
    campaign_id text primary key, amount integer not null, change integer not null) without rowid;
create index if not exists spent_by_change on spent (change);
create table if not exists changes (number integer not null);
insert into changes select 0 where not exists (select * from changes);
create table if not exists identity (name text not null);
insert into identity select hex(randomblob(16)) where not exists (select * from identity);
pragma user_version = {_LAYOUT};
commit;
"""
_EXPIRED = "select 1 from reservations where expires <= ? limit 1"
_SWEEP = "delete from reservations where expires <= ? returning coupon_id, campaign_id, amount"
_CHANGED = """
select 0, coupon_id, count, change from uses where change > ?1
union all select 1, campaign_id, amount, change from spent where change > ?1"""
_MINE = """
select 0, coupon_id, at, campaign_id, amount from redemptions where user_id = ?1 and at <= ?3
union all select 1, coupon_id, 0, campaign_id, amount from reservations where user_id = ?1
union all select 2, coupon_id, at, '', 0 from impressions
    where user_id = ?1 and at > ?2 and at <= ?3"""
_CHANGE = "update changes set number = number + 1 returning number"
_ADD_USES = """
insert into uses values (?, ?, ?)
on conflict do update set count = count + excluded.count, change = excluded.change"""
_ADD_SPENT = """
insert into spent values (?, ?, ?)
on conflict do update set amount = amount + excluded.amount, change = excluded.change"""
_USES = "select coupon_id, count from uses where coupon_id in (select value from json_each(?))"
_SPENT = (
    "select campaign_id, amount from spent where campaign_id in (select value from json_each(?))"
)
_RESERVE = "insert or replace into reservations values (?, ?, ?, ?, ?)"
_RELEASE = """
delete from reservations where user_id = ? and coupon_id = ?
returning coupon_id, campaign_id, amount"""
_SHOWN = "insert into impressions values (?, ?, ?, ?)"
_FORGET = "delete from impressions where forget <= ?"
_OLD = """
select coupon_id, campaign_id, amount, user_id, at from redemptions where redemption_id = ?"""
_IDENTITY = "select name from identity"
_ENTER = "insert or replace into redemptions values (?, ?, ?, ?, ?, ?)"
_HELD = 1


class SqliteLedger:
    """The ledger in the file ``path``; the first call makes it.

    A reservation lives ``seconds`` on the clock ``now``, which gives microseconds.
    """

    def __init__(self, path: Path, seconds: float, now: Callable[[], int]) -> None:
        self._path = path
        self._life = round(seconds * 1_000_000)
        self._now = now
        self._local = threading.local()
        self._sums = _Sums()

    def usage(self, user_id: str, since: int, until: int) -> Usage:
        """See ``Ledger``."""
        with self._failing():
            connection = self._connection()
            if connection.execute(_EXPIRED, (self._now(),)).fetchone():
                with self._writing() as change:
                    _sweep(change, self._now())
            self._sums.catch_up(connection)
            uses, spent = self._sums.uses, self._sums.spent
            return _of_user(connection, user_id, since, until, uses, spent)

    def claim(self, user_id: str, claims: Sequence[Claim], at: int) -> dict[str, str]:
        """See ``Ledger``."""
        failed: dict[str, str] = {}
        with self._failing(), self._writing() as change:
            _sweep(change, self._now())
            usage = _for_claims(change, user_id, claims, at)
            for claim in claims:
                rule = usage.failing(claim, at)
                if rule is not None:
                    failed[claim.coupon_id] = rule
                elif claim.reserved:
                    change.count(*usage.take(claim))
            taken = [one for one in claims if one.coupon_id not in failed]
            _set_aside(change, user_id, taken, self._now() + self._life)
            _remember(change, user_id, taken, at)
        return failed

    def redeem(self, redemptions: Sequence[Redemption], corrects: bool = True) -> None:
        """See ``Ledger``."""
        with self._failing(), self._writing() as change:
            for one in redemptions:
                _enter(change, one, corrects)

    def identity(self) -> str:
        """See ``Ledger``."""
        with self._failing():
            return self._connection().execute(_IDENTITY).fetchone()[0]

    def close(self) -> None:
        """Close this thread's connection; the next call opens another."""
        connection = self._local.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=WAIT_SECONDS, isolation_level=None)
            connection.execute("pragma journal_mode = wal")
            # A power cut may take the last reservations with it; redemptions are fed again.
            connection.execute("pragma synchronous = normal")
            # Who reads while another one writes must not need to write.
            if connection.execute("pragma user_version").fetchone()[0] < _LAYOUT:
                connection.executescript(_CREATE)
            self._local.connection = connection
        return connection

    @contextmanager
    def _writing(self) -> Iterator["_Change"]:
        """One change, all of it or nothing, that no other writer comes between."""
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

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self.close()
            self._sums = _Sums()
            raise StorageFailed(
                f"The ledger {self._path.name} could not be used ({error}); coupons with limits "
                "are not shown until it can."
            ) from error


class _Sums:
    """Uses by coupon and money spent by campaign, as of a change of the file."""

    def __init__(self) -> None:
        self.uses: dict[str, int] = {}
        self.spent: dict[str, int] = {}
        self._until = 0
        self._lock = threading.Lock()

    def catch_up(self, connection: sqlite3.Connection) -> None:
        """Take in what changed since the last time, by whichever process."""
        with self._lock:
            for is_campaign, key, value, change in connection.execute(_CHANGED, (self._until,)):
                (self.spent if is_campaign else self.uses)[key] = value
                self._until = max(self._until, change)


class _Change:
    """A transaction that writes, and by how much it changes the sums."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._uses: Counter[str] = Counter()
        self._spent: Counter[str] = Counter()

    def count(self, coupon_id: str, uses: int, campaign_id: str, amount: int) -> None:
        """Add to the uses of a coupon and to what its campaign spent."""
        self._uses[coupon_id] += uses
        self._spent[campaign_id] += amount

    def flush(self) -> None:
        """Write the sums that are different now."""
        sums = ((_ADD_USES, self._uses), (_ADD_SPENT, self._spent))
        if any(any(counts.values()) for _, counts in sums):
            ((number,),) = self.connection.execute(_CHANGE).fetchall()
            for statement, counts in sums:
                rows = [(key, more, number) for key, more in counts.items() if more]
                self.connection.executemany(statement, rows)
        self._uses.clear()
        self._spent.clear()


def _of_user(
    connection: sqlite3.Connection,
    user_id: str,
    since: int,
    until: int,
    uses: dict[str, int],
    spent: dict[str, int],
) -> Usage:
    """What counts for a user, with these sums over all users."""
    parts: tuple[list, list, list] = ([], [], [])
    spent_on_user: dict[str, int] = {}
    for part, coupon_id, at, campaign_id, amount in connection.execute(
        _MINE, (user_id, since, until)
    ):
        parts[part].append((coupon_id, campaign_id, amount) if part == _HELD else (coupon_id, at))
        spent_on_user[campaign_id] = spent_on_user.get(campaign_id, 0) + amount
    redeemed, held, seen = parts
    mine = {coupon_id: (campaign_id, amount) for coupon_id, campaign_id, amount in held}
    return Usage(uses, spent, spent_on_user, redeemed, seen, mine)


def _for_claims(change: _Change, user_id: str, claims: Sequence[Claim], at: int) -> Usage:
    """What the limits of claims are held against, as of this transaction."""
    change.flush()
    run = change.connection.execute
    coupons = json.dumps([claim.coupon_id for claim in claims])
    campaigns = json.dumps([claim.campaign_id for claim in claims])
    uses, spent = dict(run(_USES, (coupons,))), dict(run(_SPENT, (campaigns,)))
    since = at - max((claim.impression_period for claim in claims), default=0)
    return _of_user(change.connection, user_id, since, EVER, uses, spent)


def _set_aside(change: _Change, user_id: str, claims: Sequence[Claim], expires: int) -> None:
    rows = [
        (user_id, claim.coupon_id, claim.campaign_id, claim.cost, expires)
        for claim in claims
        if claim.reserved
    ]
    change.connection.executemany(_RESERVE, rows)


def _remember(change: _Change, user_id: str, claims: Sequence[Claim], at: int) -> None:
    """Note what was shown, and forget what no period reaches any more."""
    rows = [
        (user_id, claim.coupon_id, at, at + claim.impression_period)
        for claim in claims
        if claim.impression_period
    ]
    if rows:
        change.connection.executemany(_SHOWN, rows)
        change.connection.execute(_FORGET, (at,))


def _sweep(change: _Change, now: int) -> None:
    """End the reservations that have expired."""
    for coupon_id, campaign_id, amount in change.connection.execute(_SWEEP, (now,)).fetchall():
        change.count(coupon_id, -1, campaign_id, -amount)


def _enter(change: _Change, one: Redemption, corrects: bool) -> None:
    run = change.connection.execute
    old = run(_OLD, (one.redemption_id,)).fetchone()
    new = (one.coupon_id, one.campaign_id, one.amount, one.user_id, one.at)
    if old == new or (old is not None and not corrects):
        return
    # Only a use that was not known yet can be the one that was reserved.
    gone = [old[:3]] if old else run(_RELEASE, (one.user_id, one.coupon_id)).fetchall()
    for coupon_id, campaign_id, amount in gone:
        change.count(coupon_id, -1, campaign_id, -amount)
    run(
        _ENTER,
        (one.redemption_id, one.user_id, one.coupon_id, one.campaign_id, one.at, one.amount),
    )
    change.count(one.coupon_id, 1, one.campaign_id, one.amount)
