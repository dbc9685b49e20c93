"""The classes that describe a raw table; ``tables`` has the descriptions."""

from dataclasses import dataclass

# Largest amount or quantity of one row. Sums over nine million such rows still fit in 64 bits.
LARGEST = 10**12


@dataclass(frozen=True)
class Column:
    """A column: its type (string, int64, float64, bool or timestamp), meaning and bounds.

    ``unit`` is "cents" for money, and "percent or cents" where the row's discount_type decides.
    If ``several`` is true, a value is one or more of ``allowed``, separated by spaces.
    """

    name: str
    type: str
    meaning: str
    nullable: bool = False
    minimum: int | None = None
    maximum: int | None = None
    allowed: tuple[str, ...] | None = None
    unit: str | None = None
    several: bool = False


@dataclass(frozen=True)
class Parent:
    """A reference: the value of ``column`` must exist in a column of another table."""

    column: str
    table: str
    parent_column: str


@dataclass(frozen=True)
class Table:
    """A raw table; ``key`` identifies a row, and corrections of the row have the same key.

    In each pair of ``ordered`` the first instant is earlier than the second. In each pair of
    ``together`` both values are present or both are null. From the instant in the column ``ends``
    on, a row no longer counts.
    """

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    parents: tuple[Parent, ...] = ()
    ordered: tuple[tuple[str, str], ...] = ()
    together: tuple[tuple[str, str], ...] = ()
    partitioned: bool = False
    ends: str | None = None

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Returns the column of a name."""
        return next(column for column in self.columns if column.name == name)


def times(happened: str) -> tuple[Column, Column]:
    """Returns the two instants of every row; ``happened`` is the meaning of the first one."""
    return (
        Column("event_timestamp", "timestamp", happened),
        Column(
            "created_timestamp",
            "timestamp",
            "When we learned the row. Equals event_timestamp where the source does not state it.",
        ),
    )


def limit(name: str, meaning: str) -> Column:
    """Returns a column for a limit that a retailer may set. Of every limit, 0 allows nothing."""
    meaning = f"{meaning}; null: no limit, 0: none."
    return Column(name, "int64", meaning, True, 0, LARGEST)


def days(name: str, meaning: str) -> Column:
    """Returns a column for the length of a limit's period."""
    return Column(name, "int64", f"{meaning}; null without the limit.", True, 1, 36_500)


def money(name: str, meaning: str) -> Column:
    """Returns a column for an amount of money, which may be null."""
    meaning = f"{meaning}, in minor units (cents)."
    return Column(name, "int64", meaning, True, 0, LARGEST, unit="cents")
