"""Ingest: validates the rows of a source, lands them in the lake, and publishes features."""

from datetime import datetime, timedelta
from pathlib import Path

from prefect import flow

from feature_repo.contract import TABLES
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import instant
from feature_repo.sources import Batch, SourceError, complete_journey
from feature_repo.sources.files import source as files
from feature_repo.sources.sql import source as sql
from feature_repo.sources.sql.draft import write_draft
from flows.materialize import apply, publish_features
from flows.runtime import StageCounter, as_task, now, prepare_environment, report_progress
from validation.docs import write_docs
from validation.ingestion import Ingested, ingest_batch

SOURCES = ("complete_journey", "files", "sql")

FRESH_WITHIN = timedelta(days=2)
"""Events that are older than this at the end of the batch cause a warning."""


@flow(name="ingest", persist_result=False)
def ingest(
    source: str = "complete_journey",
    path: str | None = None,
    as_of: str | None = None,
    max_failure_share: float = 0.01,
) -> Ingested:
    """Reads a source, validates every row, lands the batch, publishes features, writes Data Docs.

    The batch lands whole or not at all. The first ingest also applies the definitions to Feast, so
    that the features can be read.

    ``as_of`` is the instant up to which the batch is complete. Without it, no row may be later than
    the wall clock, and the watermark is just after the last row of the batch.
    """
    home = prepare_environment()
    until = instant(as_of) if as_of else None
    batch = as_task(read)(source, path)
    ingested = as_task(land)(Lake(home), batch, until, max_failure_share)
    as_task(write_docs)(ingested.checked, home / "data_docs", ingested.as_of)
    as_task(publish)(Lake(home), ingested.state.number)
    as_task(register)(home)
    return ingested


def read(source: str, path: str | None) -> Batch:
    """Reads the batch of a named source.

    Raises SourceError for an unknown source, or if one of a folder comes without a path.
    """
    count_table = StageCounter("read", lambda: len(TABLES))
    if source == "complete_journey":
        return complete_journey.read(count_table)
    if source not in SOURCES:
        raise SourceError(f"Expected a source of {', '.join(SOURCES)}, got {source!r}.")
    if path is None:
        raise SourceError(f"The source {source} needs --path, the folder with the tables.")
    read_folder = sql.read if source == "sql" else files.read
    return read_folder(Path(path), count_table)


def draft(source: str, folder: Path) -> Path:
    """Writes a draft of the source's description into a folder, from its files; returns its path.

    Raises SourceError for a source that has none, and for a folder with nothing to describe.
    """
    if source != "sql":
        raise SourceError(f"--init writes a draft for --source sql, got --source {source}.")
    return write_draft(folder)


def land(lake: Lake, batch: Batch, until: datetime | None, max_failure_share: float) -> Ingested:
    """Validates and lands a batch as of ``until``, by default its watermark, else the wall clock.

    Old events cause a warning only if the end of the batch is stated by ``until`` or its watermark.
    """
    stated = until or batch.watermark
    fresh_within = FRESH_WITHIN if stated else None
    return ingest_batch(
        lake, batch, stated or now(), until, max_failure_share, fresh_within, _report_check
    )


def publish(lake: Lake, version: int) -> None:
    """Builds the features of a lake version, unless they exist."""
    publish_features(lake, lake.state(version))


def register(home: Path) -> None:
    """Applies the definitions to Feast if the state folder has no registry.

    Afterwards, `feast apply` registers a changed definition.
    """
    if not (home / "registry.db").exists():
        report_progress("apply", 0, 1)
        apply()
        report_progress("apply", 1, 1)


def _report_check(table: str, done: int, total: int) -> None:
    report_progress("check", done, total)
