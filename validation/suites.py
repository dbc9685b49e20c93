"""Great Expectations suites, one for each table, generated from the contract.

The ``meta`` of an expectation has its rule. If the expectation checks single rows, ``meta`` also
has the sentence for a row that breaks the rule: a format string with the row's columns.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_repo.contract import Column, Table
from validation.findings import (
    CONFLICT,
    CONTRADICTION,
    PURCHASE_LACKS,
    PURCHASE_NEEDS,
    can_contradict,
    identity,
    orphan_column,
)

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.expectations.expectation import Expectation

# A row that breaks several rules gets the first of them. unknown_parent comes last: a row with it
# has no other fault, so it can land as soon as its parent does.
RULES = (
    "not_null",
    "not_empty",
    "allowed_values",
    "minimum",
    "maximum",
    "time_order",
    "in_the_future",
    "purchase_needs",
    "contradiction",
    "conflict",
    "unknown_parent",
)

# Both instants of these tables must be in the past. In other tables, which hold plans,
# event_timestamp can be in the future.
EVENT_TABLES = ("exposures", "events", "redemptions")

# Older rows are misread, since no shop has any: a 0 in place of a date, or another unit. Python
# cannot represent later instants.
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)

# The contract's types as GX finds them in a pandas frame. In pandas an int64 column with a null
# changes its type, so all of them are float64. The exact types were checked in Arrow.
_TYPES = {
    "string": "str",
    "int64": "float64",
    "float64": "float64",
    "bool": "bool",
    "timestamp": "Timestamp",
}


def suite(
    table: Table,
    as_of: datetime,
    rows_expected: int | None = None,
    fresh_from: datetime | None = None,
) -> "ExpectationSuite":
    """Builds the expectations of one table as of an instant.

    ``rows_expected`` is the number of a source's rows without exact copies; the table has fewer if
    the adapter rejected some. ``fresh_from`` is the earliest instant allowed for the newest row. If
    one of these two is None, it is not checked.
    """
    from great_expectations import ExpectationSuite

    expectations = [
        *_table_expectations(table, rows_expected, fresh_from),
        *(each for column in table.columns for each in _presence_expectations(column)),
        *(each for column in table.columns for each in _value_expectations(column)),
        *_order_expectations(table),
        *_time_expectations(table, as_of),
        *_finding_expectations(table),
    ]
    return ExpectationSuite(name=table.name, expectations=expectations)


def _table_expectations(
    table: Table, rows_expected: int | None, fresh_from: datetime | None
) -> "Iterator[Expectation]":
    import great_expectations.expectations as gxe
    from great_expectations.expectations.metadata_types import FailureSeverity

    if rows_expected is not None:
        yield gxe.ExpectTableRowCountToEqual(value=rows_expected, meta={"rule": "reject"})
    if fresh_from is not None:
        yield gxe.ExpectColumnMaxToBeBetween(
            column="event_timestamp",
            min_value=fresh_from,
            severity=FailureSeverity.WARNING,
            meta={"rule": "freshness"},
        )
    for column in table.columns:
        yield gxe.ExpectColumnValuesToBeOfType(
            column=column.name,
            type_=_TYPES[column.type],
            meta={"rule": "type"},
            description=f"Values must be of type {column.type}.",
        )


def _presence_expectations(column: Column) -> "Iterator[Expectation]":
    import great_expectations.expectations as gxe

    name = column.name
    if not column.nullable:
        meta = _meta("not_null", name, f"{name} must not be null, but is null")
        yield gxe.ExpectColumnValuesToNotBeNull(column=name, meta=meta)
    if column.type == "string" and name.endswith("_id"):
        yield gxe.ExpectColumnValuesToNotBeInSet(
            column=name,
            value_set=[""],
            meta=_meta("not_empty", name, f"{name} must not be empty, but is an empty string"),
            description="Values must not be empty strings.",
        )


def _value_expectations(column: Column) -> "Iterator[Expectation]":
    import great_expectations.expectations as gxe

    name, came = column.name, f"but is {{{column.name}}}"
    if column.several:
        words = ", ".join(column.allowed or ())
        sentence = f"{name} must list, separated by one space, one or more of {words}, {came}"
        meta = _meta("allowed_values", name, sentence)
        one = f"(?:{'|'.join(column.allowed or ())})"
        regex = f"^{one}(?: {one})*$"
        yield gxe.ExpectColumnValuesToMatchRegex(column=name, regex=regex, meta=meta)
    elif column.allowed is not None:
        allowed = list(column.allowed)
        meta = _meta("allowed_values", name, f"{name} must be one of {', '.join(allowed)}, {came}")
        yield gxe.ExpectColumnValuesToBeInSet(column=name, value_set=allowed, meta=meta)
    if column.minimum is not None:
        meta = _meta("minimum", name, f"{name} must be at least {column.minimum}, {came}")
        yield gxe.ExpectColumnValuesToBeBetween(column=name, min_value=column.minimum, meta=meta)
    if column.maximum is not None:
        meta = _meta("maximum", name, f"{name} must be at most {column.maximum}, {came}")
        yield gxe.ExpectColumnValuesToBeBetween(column=name, max_value=column.maximum, meta=meta)


def _order_expectations(table: Table) -> "Iterator[Expectation]":
    import great_expectations.expectations as gxe

    for earlier, later in table.ordered:
        sentence = f"{later} must be after {earlier} ({{{earlier}}}), but is {{{later}}}"
        yield gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A=later,
            column_B=earlier,
            ignore_row_if="either_value_is_missing",
            meta=_meta("time_order", later, sentence),
        )


def _time_expectations(table: Table, as_of: datetime) -> "Iterator[Expectation]":
    import great_expectations.expectations as gxe

    past = {"created_timestamp"} | ({"event_timestamp"} if table.name in EVENT_TABLES else set())
    for name in (column.name for column in table.columns if column.type == "timestamp"):
        came = f"but is {{{name}}}"
        meta = _meta("minimum", name, f"{name} must not be before {_EARLIEST.isoformat()}, {came}")
        yield gxe.ExpectColumnValuesToBeBetween(column=name, min_value=_EARLIEST, meta=meta)
        limit, rule = (as_of, "in_the_future") if name in past else (_LATEST, "maximum")
        meta = _meta(rule, name, f"{name} must not be after {limit.isoformat()}, {came}")
        yield gxe.ExpectColumnValuesToBeBetween(column=name, max_value=limit, meta=meta)


def _finding_expectations(table: Table) -> "Iterator[Expectation]":
    key = ", ".join(identity(table))
    yield _finding(
        "conflict",
        CONFLICT,
        f"rows with the same {key} must have the same content, but rows {{{CONFLICT}}} differ",
        f"Rows with the same {key} must have the same content.",
    )
    for parent in table.parents:
        target = f"{parent.table}.{parent.parent_column}"
        yield _finding(
            "unknown_parent",
            orphan_column(parent),
            f"{parent.column} must exist in {target}, but {{{parent.column}}} does not",
            f"{parent.column} must exist in {target}.",
        )
    if table.name == "events":
        needs = ", ".join(PURCHASE_NEEDS)
        yield _finding(
            "purchase_needs",
            PURCHASE_LACKS,
            f"a purchase must have {needs}, but lacks {{{PURCHASE_LACKS}}}",
            f"A purchase must have {needs}.",
        )
    if can_contradict(table):
        yield _finding(
            "contradiction",
            CONTRADICTION,
            f"{{{CONTRADICTION}}}",
            "The columns of a row must not contradict each other.",
        )


def _finding(rule: str, column: str, sentence: str, description: str) -> "Expectation":
    import great_expectations.expectations as gxe

    return gxe.ExpectColumnValuesToBeNull(
        column=column, meta=_meta(rule, column, sentence), description=description
    )


def _meta(rule: str, column: str, sentence: str) -> dict[str, str]:
    return {"rule": rule, "column": column, "sentence": sentence}
