"""One batch into the lake: what waited and may now land, the check, and the landing, as a whole."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from feature_repo.lake.landing import (
    ClassifiedRows,
    Landing,
    classify_rows,
    commit,
    current_state,
    write_lock,
)
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import LakeError, State
from feature_repo.sources import Batch
from validation.check import Checked, check
from validation.quarantine import contradicting, quarantine_schema
from validation.suites import HAPPENINGS
from validation.threshold import stop_if_too_many
from validation.waiting import landed_parents, may_land, released

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """Rows of one table: rows_in = landed + present + quarantined.

    ``present`` counts rows that the lake or the batch held already. ``waited`` of the rows in came
    from earlier batches, out of the quarantine.
    """

    rows_in: int
    landed: int
    present: int
    quarantined: int
    waited: int


@dataclass(frozen=True)
class Ingested:
    """What became of a batch; without a change ``state`` is the one before."""

    state: State
    changed: bool
    counts: Mapping[str, Counts]
    checked: Checked
    as_of: datetime


def ingest_batch(
    lake: Lake,
    batch: Batch,
    as_of: datetime,
    complete_until: datetime | None = None,
    maximum_share: float = 0.01,
    fresh_within: timedelta | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Ingested:
    """Check a batch as of an instant and land it whole, or raise and change nothing.

    ``complete_until`` becomes the lake's watermark; by default what the batch says, else just
    after its latest row. Events older than ``fresh_within`` make a warning. Raises LakeBusy while
    another ingest runs, BatchError for a batch that has not the contract's shape, and
    TooManyFailures above ``maximum_share`` failing rows.
    """
    with write_lock(lake):
        state = current_state(lake)
        landed = landed_parents(lake, state)
        waiting = may_land(lake, state, batch, landed)
        checked = check(
            _together(batch, waiting), landed, as_of, progress, batch.rejected, fresh_within
        )
        stop_if_too_many(checked, maximum_share)
        rows = {name: classify_rows(lake, state, name, one) for name, one in checked.passed.items()}
        watermark = complete_until or batch.watermark or _just_after(checked.passed, state, as_of)
        following = commit(
            lake,
            state,
            Landing(
                batch.source,
                watermark,
                {name: one.new for name, one in rows.items()},
                _quarantined(checked, rows),
                released(lake, state, rows),
                batch.learned,
            ),
        )
    waited = {name: one.num_rows for name, one in waiting.items()}
    changed = state is None or following.number != state.number
    log.info("lake version %d, %s", following.number, "new" if changed else "unchanged")
    return Ingested(following, changed, _counts(checked, rows, waited), checked, as_of)


def discard(lake: Lake, start: str) -> State:
    """Take the one quarantined row whose id begins so out for good, as a new state.

    Raises LakeError if no row or several fit, and LakeBusy while an ingest runs.
    """
    with write_lock(lake):
        state = lake.state()
        held = lake.quarantine(state)
        ids = [] if held is None else held["quarantine_id"].to_pylist()
        found = {one for one in ids if one.startswith(start)}
        if len(found) != 1:
            raise LakeError(
                f"Expected the beginning of one row's id, {start!r} fits {len(found)}; "
                "`clipwise quarantine` lists them."
            )
        nothing = quarantine_schema().empty_table()
        return commit(lake, state, Landing(state.source, state.watermark, {}, nothing, found))


def _together(batch: Batch, waiting: Mapping[str, object]) -> dict[str, object]:
    import pyarrow as pa

    tables = dict(batch.tables)
    for name, rows in waiting.items():
        parts = [tables[name]] if name in tables else []
        tables[name] = pa.concat_tables([*parts, rows])
    return tables


def _quarantined(checked: Checked, rows: Mapping[str, ClassifiedRows]):
    import pyarrow as pa

    conflicts = [contradicting(name, one.conflicting) for name, one in rows.items()]
    return pa.concat_tables([checked.quarantined, *conflicts])


def _counts(
    checked: Checked, rows: Mapping[str, ClassifiedRows], waited: Mapping[str, int]
) -> dict[str, Counts]:
    held = checked.quarantined["table"].to_pylist()
    return {
        name: Counts(
            rows_in=checked.rows_in[name],
            landed=one.new.num_rows,
            present=one.present + checked.repeated[name],
            quarantined=held.count(name) + one.conflicting.num_rows,
            waited=waited.get(name, 0),
        )
        for name, one in rows.items()
    }


def _just_after(passed: Mapping[str, object], state: State | None, as_of: datetime) -> datetime:
    """The first instant after all that the batch says happened or was learned, at most ``as_of``.

    Plans may take effect later than that. A batch without rows says nothing.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    latest = [
        pc.max(rows[column].cast(pa.int64())).as_py()
        for name, rows in passed.items()
        for column in ("created_timestamp", *(("event_timestamp",) * (name in HAPPENINGS)))
        if rows.num_rows
    ]
    if not latest:
        return state.watermark if state else as_of
    return min(as_of, datetime.fromtimestamp(0, UTC) + timedelta(microseconds=max(latest) + 1))
