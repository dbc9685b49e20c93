"""Materialize: the newest features of every user, product and coupon into the online store."""

import io
import logging
from contextlib import redirect_stdout
from datetime import datetime, timedelta
from pathlib import Path

from prefect import flow

from feature_repo.home import REPOSITORY
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import instant
from flows.runtime import prepare_environment, report_progress, step

log = logging.getLogger(__name__)


class MaterializeError(Exception):
    """The online store cannot be brought to an instant."""


@flow(name="materialize", persist_result=False)
def materialize(as_of: str | None = None) -> datetime:
    """Apply the definitions and bring the online store up to an instant, by default the watermark.

    Returns that instant. Only rows that are not online yet are written. Raises MaterializeError for
    an instant before the one up to which the online store is complete already.
    """
    from feature_repo.online.materialize.engine import tell_rows

    home = prepare_environment()
    until = instant(as_of) if as_of else Lake(home).state().watermark
    store = step(apply)()
    tell_rows(store, report_progress)
    changed = 0
    for done, name in enumerate(names := view_names(), 1):
        changed += step(bring_online)(store, name, until)
        report_progress("materialize", done, len(names))
    if changed:
        report_progress("rows changed online", changed, changed)
    else:
        report_progress("nothing changed online", 1, 1)
    return until


def feature_store(repository: Path = REPOSITORY):
    """The Feast store of this repository, from feature_store.yaml or FEAST_FS_YAML_FILE_PATH.

    It draws no progress of its own: the flows tell theirs.
    """
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(repository))
    store.config.offline_store.progress = False
    return store


def view_names() -> list[str]:
    """The feature views that are served online."""
    from feast import FeatureView

    from feature_repo import definitions

    objects = (getattr(definitions, name) for name in definitions.__all__)
    return [one.name for one in objects if isinstance(one, FeatureView) and one.online]


def apply():
    """Register the definitions in Feast, as ``feast apply`` does, and return the store."""
    from feature_repo import definitions

    store = feature_store()
    store.apply([getattr(definitions, name) for name in definitions.__all__])
    return store


def bring_online(store, name: str, until: datetime) -> int:
    """Bring a view's newest rows before ``until`` online; gives how many were not yet."""
    from feature_repo.online.materialize.engine import rows_written

    done = store.get_feature_view(name).most_recent_end_time
    if done is not None and done > until:
        raise MaterializeError(
            f"The online store has {name} up to {done.isoformat()} and cannot go back to "
            f"{until.isoformat()}; past instants are read with `clipwise recommend --as-of`."
        )
    with redirect_stdout(io.StringIO()) as said:
        store.materialize(until - timedelta(microseconds=1), until, feature_views=[name])
    log.debug("feast: %s", said.getvalue())
    return rows_written(store, name) or 0
