"""Materialize: writes the newest features of every user, product and coupon to the online store."""

import io
import logging
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow

from feature_repo.home import REPOSITORY
from feature_repo.instants import MICROSECOND
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State, instant
from feature_repo.publication.publish import published
from feature_repo.publication.queries import WriteView, view_queries
from flows.runtime import StageCounter, as_task, prepare_environment, report_progress

if TYPE_CHECKING:
    from feast import FeatureStore

log = logging.getLogger(__name__)


class MaterializeError(Exception):
    """The online store cannot be materialized up to an instant."""


@flow(name="materialize", persist_result=False)
def materialize(as_of: str | None = None) -> datetime:
    """Applies the definitions and materializes every view up to an instant.

    The instant is the watermark of the lake by default, and is returned. Only rows that changed are
    written. Raises MaterializeError if a view is online beyond that instant already.
    """
    from feature_repo.online.materialize.engine import report_row_progress

    home = prepare_environment()
    until = instant(as_of) if as_of else Lake(home).state().watermark
    store = as_task(apply)()
    report_row_progress(store, report_progress)
    changed = 0
    for done, name in enumerate(names := view_names(), 1):
        changed += as_task(materialize_view)(store, name, until)
        report_progress("materialize", done, len(names))
    if changed:
        report_progress("rows changed online", changed, changed)
    else:
        report_progress("nothing changed online", 1, 1)
    return until


def publish_features(lake: Lake, state: State, stage: str = "features") -> None:
    """Builds the features of a lake version, unless they exist; ``stage`` names the progress."""
    published(lake, state, StageCounter(stage, _published_views))


def _published_views() -> int:
    return sum(isinstance(query, WriteView) for query in view_queries())


def feature_store(repository: Path = REPOSITORY) -> "FeatureStore":
    """Opens the Feast store of this repository: feature_store.yaml or FEAST_FS_YAML_FILE_PATH.

    The progress bar of the offline store is off, because the flows report their own progress.
    """
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(repository))
    store.config.offline_store.progress = False
    return store


def view_names() -> list[str]:
    """Lists the feature views that are served online."""
    from feast import FeatureView

    from feature_repo import definitions

    objects = (getattr(definitions, name) for name in definitions.__all__)
    return [one.name for one in objects if isinstance(one, FeatureView) and one.online]


def apply() -> "FeatureStore":
    """Registers the definitions in Feast, as ``feast apply`` does, and returns the store."""
    from feature_repo import definitions

    store = feature_store()
    store.apply([getattr(definitions, name) for name in definitions.__all__])
    return store


def materialize_view(store: "FeatureStore", name: str, until: datetime) -> int:
    """Writes the newest rows of a view before ``until`` online. Returns the rows that changed."""
    from feature_repo.online.materialize.engine import rows_written

    online_until = store.get_feature_view(name).most_recent_end_time
    if online_until is not None and online_until > until:
        raise MaterializeError(
            f"Expected an instant after {online_until.isoformat()}, up to which {name} is online, "
            f"got {until.isoformat()}. To read a past instant, run `clipwise recommend --as-of`."
        )
    with redirect_stdout(io.StringIO()) as output:
        store.materialize(until - MICROSECOND, until, feature_views=[name])
    log.debug("feast: %s", output.getvalue())
    return rows_written(store, name) or 0
