"""An oracle for the raw rows that count at an instant: ``feature_repo/views`` in plain Python.

Rows are dicts in contract columns; instants are int microseconds since the epoch, UTC.
"""

from collections.abc import Mapping, Sequence

from feature_repo.contract import TABLES

DAY = 86_400_000_000

Row = Mapping[str, object]


def known(row: Row) -> int:
    """Returns the later of the instants of the event and of learning."""
    return max(row["event_timestamp"], row["created_timestamp"])


def last_midnight(t: int) -> int:
    """Returns the last UTC midnight strictly before t."""
    return (t - 1) // DAY * DAY


def within(rows: Sequence[Row], t: int, days: int) -> list[Row]:
    """Returns the rows with t - days <= event_timestamp."""
    return [row for row in rows if t - days * DAY <= row["event_timestamp"]]


def money(row: Row, name: str) -> int:
    return row[name] or 0


def discounts(row: Row) -> int:
    names = ("retail_discount", "coupon_discount", "coupon_match_discount")
    return sum(money(row, name) for name in names)


def latest(rows: Sequence[Row]) -> int | None:
    return max((row["event_timestamp"] for row in rows), default=None)


class Raw:
    """All versions of all rows, by table."""

    def __init__(self, tables: Mapping[str, Sequence[Row]]):
        self.tables = {name: list(tables.get(name, ())) for name in TABLES}
        self._counting: dict[tuple[str, int], list[Row]] = {}

    def known(self, table: str, t: int) -> list[Row]:
        """Returns the versions that happened and were learned before t."""
        return [row for row in self.tables[table] if known(row) < t]

    def counting(self, table: str, t: int) -> list[Row]:
        """Returns the version of each row that counts at t: the known version learned last.

        A redemption that was taken back before t does not count.
        """
        if (table, t) not in self._counting:
            newest: dict[tuple, Row] = {}
            for row in sorted(self.known(table, t), key=lambda r: r["created_timestamp"]):
                newest[_key(table, row)] = row
            ends = TABLES[table].ends
            self._counting[table, t] = [
                row for row in newest.values() if ends is None or (row.get(ends) or t) >= t
            ]
        return self._counting[table, t]

    def counted(self, table: str, t: int, daily: bool = False) -> list[Row]:
        """Returns the versions that counted at any instant up to t, or at any midnight up to t."""
        since = {known(row) for row in self.known(table, t)}
        ends = {(at // DAY + 1) * DAY if daily else at + 1 for at in since}
        return [row for end in ends if end <= t for row in self.counting(table, end)]

    def names(self, table: str, t: int) -> set[str]:
        """Returns the users, products or coupons with a version that counts at t."""
        return {_key(table, row)[0] for row in self.known(table, t)}

    def is_known(self, table: str, name: str, t: int) -> bool:
        return name in self.names(table, t)

    def described(self, table: str, name: str, t: int) -> Row | None:
        """Returns the version of a user, product or coupon that counts at t."""
        return next((r for r in self.counting(table, t) if _key(table, r) == (name,)), None)

    def first(self, table: str, name: str, t: int) -> Row | None:
        """Returns the version of a product or coupon that counted first, if that was before t."""
        versions = [row for row in self.known(table, t) if _key(table, row) == (name,)]
        order = [(known(row), -row["created_timestamp"]) for row in versions]
        return versions[order.index(min(order))] if versions else None

    def purchases(self, t: int, **values: object) -> list[Row]:
        """Returns the purchases (rows of events) that count at t, of a user or product."""
        wanted = {"event_type": "purchase"} | values
        return [r for r in self.counting("events", t) if matches(r, wanted)]


def matches(row: Row, wanted: Mapping[str, object]) -> bool:
    return all(row[name] == value for name, value in wanted.items())


def _key(table: str, row: Row) -> tuple:
    return tuple(row[name] for name in TABLES[table].key)
