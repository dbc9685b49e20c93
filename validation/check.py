"""Which rows of a batch may land: every row passes, repeats another one, or is in quarantine."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from feature_repo.contract import TABLES, Parent, Table, arrow_schema
from validation import quarantine
from validation.findings import ROW, known_ids, with_findings, without_copies
from validation.intake import admit, empty
from validation.judge import Failure, Verdict, ephemeral_context, judge
from validation.suites import suite

log = logging.getLogger(__name__)

Landed = Mapping[tuple[str, str], Collection]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Checked:
    """A batch after validation, by table: rows_in = passed + repeated + quarantined.

    ``passed`` holds Arrow tables in contract columns. ``quarantined`` is one Arrow table of
    ``quarantine.COLUMNS``. ``repeated`` counts exact copies of another row of the batch, whatever
    became of that one. ``results`` holds Great Expectations' validation results.
    """

    passed: Mapping[str, object]
    quarantined: object
    repeated: Mapping[str, int]
    rows_in: Mapping[str, int]
    results: Mapping[str, object]
    warnings: tuple[str, ...] = ()

    @property
    def statistics(self) -> dict[str, dict]:
        """How many expectations each table met: GX's own counts, ready for JSON."""
        return {name: dict(result.statistics) for name, result in self.results.items()}


@dataclass(frozen=True)
class _Part:
    """One table of ``Checked``."""

    passed: object
    quarantined: object
    repeated: int
    rows_in: int
    verdict: Verdict


def check(
    batch: Mapping[str, object],
    parents: Landed,
    as_of: datetime,
    progress: Progress | None = None,
    rejected: Mapping[str, object] | None = None,
    fresh_within: timedelta | None = None,
) -> Checked:
    """Hold every row of a batch against the contract as of an instant.

    ``batch`` maps table names to Arrow tables in contract columns and types plus ``_row``, the
    row's number in its source. ``parents`` maps (table, column) to the ids that have landed; what
    is missing has none. Parents that pass in the same batch count too. ``rejected`` maps table
    names to the rows that the adapter could not read (row_number, rule, reason, payload).
    ``progress`` is called after each table with its name, the tables done and all tables.
    Events whose newest row is older than ``fresh_within`` before ``as_of`` make a warning.

    Raises BatchError if the batch has not the contract's shape.
    """
    rejected = rejected or {}
    admit(batch, rejected, as_of)
    names = [name for name in TABLES if name in batch or name in rejected]
    context, parts = ephemeral_context(), {}
    for done, name in enumerate(names, 1):
        table = TABLES[name]
        rows = batch[name] if name in batch else empty(table)
        known = {parent: _known(parent, parents, parts) for parent in table.parents}
        fresh_from = _fresh_from(name, rows, as_of, fresh_within)
        parts[name] = _check_table(
            context, table, rows, rejected.get(name), known, as_of, fresh_from
        )
        _log(name, parts[name])
        if progress is not None:
            progress(name, done, len(names))
    return _checked(parts, as_of, fresh_within)


def _known(parent: Parent, landed: Landed, parts: Mapping[str, _Part]):
    passed = parts[parent.table].passed[parent.parent_column] if parent.table in parts else None
    return known_ids(landed.get((parent.table, parent.parent_column)), passed)


def _fresh_from(name: str, rows, as_of: datetime, fresh_within: timedelta | None):
    """The oldest instant that the newest event may have; None if that is not to be judged."""
    if name != "events" or fresh_within is None:
        return None
    has_instants = rows["event_timestamp"].null_count < rows.num_rows
    return as_of - fresh_within if has_instants else None


def _check_table(context, table: Table, rows, rejected, known, as_of, fresh_from) -> _Part:
    refused = 0 if rejected is None else rejected.num_rows
    kept, conflicts = without_copies(table, rows)
    found = with_findings(table, kept, conflicts, known)
    expectations = suite(table, as_of, kept.num_rows + refused, fresh_from)
    verdict = judge(context, table, found, expectations, as_of)
    return _Part(
        _passed(table, kept, verdict.failures),
        _quarantined(table, found, verdict.failures, rejected),
        rows.num_rows - kept.num_rows,
        rows.num_rows + refused,
        verdict,
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


def _passed(table: Table, rows, failures: tuple[Failure, ...]):
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = arrow_schema(table)
    if failures:
        broken = pa.array(np.unique(np.concatenate([failure.rows for failure in failures])))
        rows = rows.filter(pc.invert(pc.is_in(rows[ROW], value_set=broken)))
    return rows.select(schema.names).cast(schema)


def _quarantined(table: Table, rows, failures: tuple[Failure, ...], rejected):
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
        f"{as_of.isoformat()}, but is {part.verdict.stale_since}; check that the source delivers."
        for name, part in parts.items()
        if part.verdict.stale_since is not None
    )
    return Checked(
        passed={name: part.passed for name, part in parts.items()},
        quarantined=pa.concat_tables([quarantine.quarantine_schema().empty_table(), *held]),
        repeated={name: part.repeated for name, part in parts.items()},
        rows_in={name: part.rows_in for name, part in parts.items()},
        results={name: part.verdict.result for name, part in parts.items()},
        warnings=tuple(warnings),
    )
