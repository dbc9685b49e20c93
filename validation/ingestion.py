"""Ingest of one batch: waiting rows, the check and the landing, as one atomic step."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from feature_repo.instants import EPOCH, from_microseconds
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
from validation.quarantine import conflicting, quarantine_schema
from validation.suites import EVENT_TABLES
from validation.threshold import stop_if_too_many
from validation.waiting import landable_rows, landed_parents, released_ids

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """Rows of one table: rows_in = landed + present + quarantined.

    ``present`` counts rows that are already in the lake or the batch. ``waited`` counts incoming
    rows that were in quarantine since an earlier batch.
    """

    rows_in: int
    landed: int
    present: int
    quarantined: int
    waited: int


@dataclass(frozen=True)
class Ingested:
    """The result of an ingest; without a change ``state`` is the state before it.

    ``assumed`` are the sentences of the batch on what its source does not state.
    """

    state: State
    changed: bool
    counts: Mapping[str, Counts]
    checked: Checked
    as_of: datetime
    assumed: tuple[str, ...] = ()


def ingest_batch(
    lake: Lake,
    batch: Batch,
    as_of: datetime,
    complete_until: datetime | None = None,
    maximum_share: float = 0.01,
    fresh_within: timedelta | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Ingested:
    """Checks a batch as of an instant and lands all of it, or raises and changes nothing.

    ``complete_until`` becomes the lake's watermark. The default is the watermark of the batch, else
    the instant just after its latest row. A warning results if the newest event is older than
    ``fresh_within``.

    Raises LakeBusy while another ingest runs, and BatchError for a batch without the contract's
    shape. Raises TooManyFailures if more than ``maximum_share`` of a table's rows fail.
    """
    with write_lock(lake):
        state = current_state(lake)
        landed = landed_parents(lake, state)
        waiting = landable_rows(lake, state, batch, landed)
        checked = check(
            _together(batch, waiting), landed, as_of, progress, batch.rejected, fresh_within
        )
        stop_if_too_many(checked, maximum_share)
        rows = {name: classify_rows(lake, state, name, one) for name, one in checked.passed.items()}
        watermark = complete_until or batch.watermark or _just_after(checked.passed, state, as_of)
        landing = Landing(
            source=batch.source,
            watermark=watermark,
            new={name: one.new for name, one in rows.items()},
            quarantined=_quarantined(checked, rows),
            released=released_ids(lake, state, rows),
            learned=batch.learned,
        )
        following = commit(lake, state, landing)
    waited = {name: one.num_rows for name, one in waiting.items()}
    changed = state is None or following.number != state.number
    log.info("lake version %d, %s", following.number, "new" if changed else "unchanged")
    counts = _counts(checked, rows, waited)
    return Ingested(following, changed, counts, checked, as_of, batch.assumed)


def discard(lake: Lake, prefix: str) -> State:
    """Deletes the one quarantined row with an id that starts with ``prefix``, as a new state.

    Raises LakeError unless exactly one row fits, and LakeBusy while an ingest runs.
    """
    with write_lock(lake):
        state = lake.state()
        held = lake.quarantine(state)
        ids = [] if held is None else held["quarantine_id"].to_pylist()
        found = {one for one in ids if one.startswith(prefix)}
        if len(found) != 1:
            raise LakeError(
                f"Expected the first characters of one row's id, {prefix!r} fits {len(found)}; "
                "`clipwise quarantine` lists them."
            )
        no_rows = quarantine_schema().empty_table()
        return commit(lake, state, Landing(state.source, state.watermark, {}, no_rows, found))


def _together(batch: Batch, waiting: "Mapping[str, pa.Table]") -> "dict[str, pa.Table]":
    import pyarrow as pa

    tables = dict(batch.tables)
    for name, rows in waiting.items():
        parts = [tables[name]] if name in tables else []
        tables[name] = pa.concat_tables([*parts, rows])
    return tables


def _quarantined(checked: Checked, rows: Mapping[str, ClassifiedRows]) -> "pa.Table":
    import pyarrow as pa

    conflicts = [conflicting(name, one.conflicting) for name, one in rows.items()]
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


def _just_after(passed: "Mapping[str, pa.Table]", state: State | None, as_of: datetime) -> datetime:
    """Returns the first instant after all events and learning of the batch, at most ``as_of``.

    The effects of plans can be later. Without any row it is the watermark of the state, and in an
    empty lake 1970: a later instant would count as complete for ever.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    latest = [
        pc.max(rows[column].cast(pa.int64())).as_py()
        for name, rows in passed.items()
        for column in ("created_timestamp", *(("event_timestamp",) * (name in EVENT_TABLES)))
        if rows.num_rows
    ]
    if not latest:
        return state.watermark if state else EPOCH
    return min(as_of, from_microseconds(max(latest) + 1))
