"""Check of a batch: each row passes, repeats another row, or enters the quarantine."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from feature_repo.contract import TABLES, Parent, Table, arrow_schema
from validation import quarantine
from validation.batch_shape import check_shape, empty_rows
from validation.findings import ROW, ParentIds, known_ids, with_findings, without_copies
from validation.hints import zero_limits
from validation.suite_runner import Failure, SuiteResult, ephemeral_context, run_suite
from validation.suites import suite

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called after each table with its name, the number of checked tables and of all tables."""


@dataclass(frozen=True)
class Checked:
    """A batch after the check; for each table rows_in = passed + repeated + quarantined.

    ``passed`` holds Arrow tables in contract columns. ``quarantined`` is one Arrow table of
    ``quarantine.COLUMNS``. ``repeated`` counts exact copies of another row of the batch, whether
    or not that row passed. ``results`` holds Great Expectations' validation results.
    """

    passed: "Mapping[str, pa.Table]"
    quarantined: "pa.Table"
    repeated: Mapping[str, int]
    rows_in: Mapping[str, int]
    results: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def statistics(self) -> dict[str, dict[str, Any]]:
        """GX's counts of met and failed expectations by table, ready for JSON."""
        return {name: dict(result.statistics) for name, result in self.results.items()}


@dataclass(frozen=True)
class _Part:
    """One table of ``Checked``."""

    passed: "pa.Table"
    quarantined: "pa.Table"
    repeated: int
    rows_in: int
    suite_result: SuiteResult


def check(
    batch: "Mapping[str, pa.Table]",
    parents: ParentIds,
    as_of: datetime,
    progress: Progress | None = None,
    rejected: "Mapping[str, pa.Table] | None" = None,
    fresh_within: timedelta | None = None,
) -> Checked:
    """Checks all rows of a batch against the contract as of an instant.

    ``batch`` maps table names to Arrow tables in contract columns and types plus ``_row``, the
    row's number in its source. ``parents`` has the ids in the lake; parents that pass in the same
    batch count too. ``rejected`` maps table names to the rows that the adapter could not cast
    (row_number, rule, reason, payload). A warning results if the newest event is older than
    ``fresh_within`` before ``as_of``.

    Raises BatchError if the batch does not have the contract's shape.
    """
    rejected = rejected or {}
    check_shape(batch, rejected, as_of)
    names = [name for name in TABLES if name in batch or name in rejected]
    context = ephemeral_context()
    parts: dict[str, _Part] = {}
    for done, name in enumerate(names, 1):
        table = TABLES[name]
        rows = batch[name] if name in batch else empty_rows(table)
        known = {parent: _known(parent, parents, parts) for parent in table.parents}
        fresh_from = _fresh_from(name, rows, as_of, fresh_within)
        parts[name] = _check_table(
            context, table, rows, rejected.get(name), known, as_of, fresh_from
        )
        _log(name, parts[name])
        if progress is not None:
            progress(name, done, len(names))
    return _checked(parts, as_of, fresh_within)


def _known(parent: Parent, landed: ParentIds, parts: Mapping[str, _Part]) -> "pa.Array":
    passed = parts[parent.table].passed[parent.parent_column] if parent.table in parts else None
    return known_ids(landed.get((parent.table, parent.parent_column)), passed)


def _fresh_from(
    name: str, rows: "pa.Table", as_of: datetime, fresh_within: timedelta | None
) -> datetime | None:
    """Returns the earliest instant allowed for the newest event; None if it is not checked."""
    if name != "events" or fresh_within is None:
        return None
    has_instants = rows["event_timestamp"].null_count < rows.num_rows
    return as_of - fresh_within if has_instants else None


def _check_table(
    context: Any,
    table: Table,
    rows: "pa.Table",
    rejected: "pa.Table | None",
    known: "Mapping[Parent, pa.Array]",
    as_of: datetime,
    fresh_from: datetime | None,
) -> _Part:
    refused = 0 if rejected is None else rejected.num_rows
    kept, conflicts = without_copies(table, rows)
    found = with_findings(table, kept, conflicts, known)
    expectations = suite(table, as_of, kept.num_rows + refused, fresh_from)
    result = run_suite(context, table, found, expectations, as_of)
    return _Part(
        _passed(table, kept, result.failures),
        _quarantined(table, found, result.failures, rejected),
        rows.num_rows - kept.num_rows,
        rows.num_rows + refused,
        result,
    )


def _log(name: str, part: _Part) -> None:
    log.info(
        "%s: %d rows in, %d passed, %d repeated, %d quarantined",
        name,
        part.rows_in,
        part.passed.num_rows,
        part.repeated,
        part.quarantined.num_rows,
    )


def _passed(table: Table, rows: "pa.Table", failures: tuple[Failure, ...]) -> "pa.Table":
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = arrow_schema(table)
    if failures:
        broken = pa.array(np.unique(np.concatenate([failure.rows for failure in failures])))
        rows = rows.filter(pc.invert(pc.is_in(rows[ROW], value_set=broken)))
    return rows.select(schema.names).cast(schema)


def _quarantined(
    table: Table,
    rows: "pa.Table",
    failures: tuple[Failure, ...],
    rejected: "pa.Table | None",
) -> "pa.Table":
    import pyarrow as pa

    parts = [quarantine.failing(table, rows, failures)]
    parts += [] if rejected is None else [quarantine.rejected(table, rejected)]
    return pa.concat_tables(parts)


def _checked(
    parts: Mapping[str, _Part], as_of: datetime, fresh_within: timedelta | None
) -> Checked:
    import pyarrow as pa

    held = [part.quarantined for part in parts.values()]
    warnings = (
        f"{name}: the newest event_timestamp should be within {fresh_within} of "
        f"{as_of.isoformat()}, but is {part.suite_result.stale_since}; check the source."
        for name, part in parts.items()
        if part.suite_result.stale_since is not None
    )
    passed = {name: part.passed for name, part in parts.items()}
    return Checked(
        passed=passed,
        quarantined=pa.concat_tables([quarantine.quarantine_schema().empty_table(), *held]),
        repeated={name: part.repeated for name, part in parts.items()},
        rows_in={name: part.rows_in for name, part in parts.items()},
        results={name: part.suite_result.result for name, part in parts.items()},
        warnings=(*warnings, *zero_limits(passed)),
    )
