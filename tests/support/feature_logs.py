"""Lands the small event logs of the feature tests in a lake and opens it with Feast."""

import shutil
from pathlib import Path

from feature_repo.contract import TABLES, arrow_schema
from feature_repo.instants import from_microseconds as moment
from feature_repo.instants import microseconds
from tests.support.feature_rows import (
    COUPONS,
    DAY,
    PRODUCTS,
    START,
    USERS,
    WATERMARK,
    change_instants,
    complete_until,
    deliveries,
    logs,
    some_instants,
)

__all__ = [
    "COUPONS",
    "DAY",
    "PRODUCTS",
    "START",
    "USERS",
    "WATERMARK",
    "arrow",
    "complete",
    "complete_until",
    "deliveries",
    "feast_store",
    "land",
    "logs",
    "microseconds",
    "moment",
    "relanded",
    "some_instants",
    "change_instants",
]


def complete(log: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """Returns the log with null in every column that its rows leave out."""
    return {
        name: [dict.fromkeys(TABLES[name].column_names) | row for row in rows]
        for name, rows in log.items()
    }


def arrow(name: str, rows: list[dict]):
    import pyarrow as pa

    columns = {
        column.name: [_value(column, row.get(column.name)) for row in rows]
        for column in TABLES[name].columns
    }
    return pa.table(columns, schema=arrow_schema(TABLES[name]))


def _value(column, value):
    return moment(value) if column.type == "timestamp" and value is not None else value


def land(home: Path, log: dict[str, list[dict]], watermark: int = WATERMARK):
    """Appends a log to the lake below ``home``; returns the new state."""
    import pyarrow as pa

    from feature_repo.lake import landing
    from feature_repo.lake.reader import Lake

    lake = Lake(home)
    names = ("quarantine_id", "table", "row_id", "rule", "reason", "payload")
    no_rows = pa.table({name: pa.array([], pa.string()) for name in names})
    with landing.write_lock(lake):
        state = landing.current_state(lake)
        new = {
            name: landing.classify_rows(lake, state, name, arrow(name, rows)).new
            for name, rows in log.items()
        }
        batch = landing.Landing("test", moment(watermark), new, quarantined=no_rows)
        return landing.commit(lake, state, batch)


def relanded(store, *batches: dict, watermark: int = WATERMARK) -> Path:
    """Replaces the lake of a Feast store by these batches; returns its home."""
    home = Path(store.config.offline_store.home)
    for folder in ("lake", "features"):
        shutil.rmtree(home / folder, ignore_errors=True)
    for batch in batches:
        land(home, batch, watermark)
    return home


OURS = "feature_repo.online_store.GuardedSqliteOnlineStore"


def feast_store(home: Path, online: str | dict = OURS, **offline):
    """Opens a Feast store over ``home`` and applies our views, offline and online.

    ``online`` has the settings of an online store, or the type of a SQLite one.
    """
    from feast import FeatureStore, RepoConfig

    from feature_repo import definitions

    config = RepoConfig(
        project="clipwise",
        provider="local",
        registry={
            "registry_store_type": "feature_repo.registry.HomeRegistryStore",
            "path": f"{home}/registry.db",
        },
        offline_store={
            "type": "feature_repo.point_in_time.PointInTimeOfflineStore",
            "home": str(home),
        }
        | offline,
        online_store=online
        if isinstance(online, dict)
        else {"type": online, "path": f"{home}/online.db"},
        entity_key_serialization_version=3,
        materialization={"pull_latest_features": True},
        repo_path=str(home),
    )
    store = FeatureStore(config=config)
    store.apply([getattr(definitions, name) for name in definitions.__all__])
    return store
