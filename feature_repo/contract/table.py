"""What a raw table and its columns are; ``contract`` says which there are."""

from dataclasses import dataclass

# The largest amount or quantity of one row: sums over nine million such rows still fit 64 bits.
LARGEST = 10**12


@dataclass(frozen=True)
class Column:
    """One column: its type (string, int64, float64, bool or timestamp), meaning and bounds.

    ``unit`` is "cents" for money, "percent or cents" where the row's discount_type decides. With
    ``several`` a value is one or more of ``allowed``, with a space between them.
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
    """A column whose value must exist in a column of another table."""

    column: str
    table: str
    parent_column: str


@dataclass(frozen=True)
class Table:
    """A raw table: ``key`` names the columns that identify a row apart from its corrections.

    Of each pair in ``ordered`` the first is earlier than the second; of each pair in ``together``
    both are stated or neither is.
    """

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    parents: tuple[Parent, ...] = ()
    ordered: tuple[tuple[str, str], ...] = ()
    together: tuple[tuple[str, str], ...] = ()
    partitioned: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def times(happened: str) -> tuple[Column, Column]:
    """The two instants that every row carries; ``happened`` says what the first one means."""
    return (
        Column("event_timestamp", "timestamp", happened),
        Column(
            "created_timestamp",
            "timestamp",
            "When we learned the row. Equals event_timestamp where the source does not say.",
        ),
    )


def limit(name: str, meaning: str, minimum: int = 1, maximum: int = LARGEST) -> Column:
    """A bound that a retailer may state."""
    return Column(name, "int64", f"{meaning}; null: no limit.", True, minimum, maximum)


def money(name: str, meaning: str) -> Column:
    """An amount of money, as far as it is known."""
    shown = f"{meaning}, in minor units (cents)."
    return Column(name, "int64", shown, True, 0, LARGEST, unit="cents")
