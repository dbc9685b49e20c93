"""Ingest: a source's rows, checked, into the lake, and the features of the new state."""

from datetime import datetime, timedelta
from pathlib import Path

from prefect import flow

from feature_repo.contract import TABLES
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import instant
from feature_repo.publication.publish import published
from feature_repo.sources import Batch, SourceError, complete_journey, files
from flows.runtime import now, prepare_environment, report_progress, step
from validation.docs import write_docs
from validation.ingestion import Ingested, ingest_batch

SOURCES = ("complete_journey", "files")
VIEWS = 14
FRESH_WITHIN = timedelta(days=2)


@flow(name="ingest", persist_result=False)
def ingest(
    source: str = "complete_journey",
    path: str | None = None,
    as_of: str | None = None,
    max_failure_share: float = 0.01,
) -> Ingested:
    """Read a source, validate every row, land the batch whole, publish features, write Data Docs.

    The first ingest also applies the definitions, so that the features can be read through Feast.

    ``as_of`` is the instant up to which the batch is complete; without it nothing may lie after
    the wall clock, and the lake is complete up to the batch's last row.
    """
    home = prepare_environment()
    until = instant(as_of) if as_of else None
    batch = step(read)(source, path)
    ingested = step(land)(Lake(home), batch, until, max_failure_share)
    step(write_docs)(ingested.checked, home / "data_docs", ingested.as_of)
    step(publish)(Lake(home), ingested.state.number)
    step(register)(home)
    return ingested


def read(source: str, path: str | None) -> Batch:
    """The batch of a named source. Raises SourceError for an unknown one or a missing path."""
    read_tables = _Count("read", len(TABLES))
    if source == "complete_journey":
        return complete_journey.read(read_tables)
    if source != "files":
        raise SourceError(f"Expected a source of {', '.join(SOURCES)}, got {source!r}.")
    if path is None:
        raise SourceError("The source files needs --path, the folder with the tables.")
    return files.read(Path(path), read_tables)


def land(lake: Lake, batch: Batch, until: datetime | None, max_failure_share: float) -> Ingested:
    """The batch checked and landed as of ``until``, the batch's own watermark, or now.

    Old events are a warning only where somebody said up to when the batch is complete.
    """
    stated = until or batch.watermark
    fresh_within = FRESH_WITHIN if stated else None
    return ingest_batch(
        lake, batch, stated or now(), until, max_failure_share, fresh_within, _checking
    )


def publish(lake: Lake, version: int) -> None:
    """The features of a lake version, built if they are not there."""
    published(lake, lake.state(version), _Count("features", VIEWS))


def register(home: Path) -> None:
    """Apply the definitions where nobody has; later on `feast apply` is for who changes them."""
    if not (home / "registry.db").exists():
        from flows.materialize import apply

        report_progress("apply", 0, 1)
        apply()
        report_progress("apply", 1, 1)


def _checking(table: str, done: int, total: int) -> None:
    report_progress("check", done, total)


class _Count:
    """Counts what a stage reports by name."""

    def __init__(self, stage: str, total: int):
        self.stage, self.total, self.done = stage, total, 0

    def __call__(self, name: str) -> None:
        self.done += 1
        report_progress(self.stage, min(self.done, self.total), self.total)
