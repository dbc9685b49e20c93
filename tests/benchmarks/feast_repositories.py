"""The Feast repositories of the competitors: the same views, a different store each."""

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.point_in_time_data import VIEWS, View

SETTINGS = """project: bench
provider: local
registry: {registry}
offline_store: {offline}
online_store: {online}
{engine}entity_key_serialization_version: 3
"""
FEATURES = [f"{view.name}:{feature}" for view in VIEWS for feature in view.features]


def write_repository(
    folder: Path, offline: dict, online: dict | None = None, engine: dict | None = None
) -> None:
    """Writes a feature_store.yaml. All repositories of a folder share the registry in it."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    online = online or {"type": "sqlite", "path": str(folder / "unused.db")}
    lines = f"batch_engine: {json.dumps(engine)}\n" if engine else ""
    lines += "materialization: {pull_latest_features: true}\n" if engine else ""
    (folder / "feature_store.yaml").write_text(
        SETTINGS.format(
            registry=json.dumps(str(folder.parent / "registry.db")),
            offline=json.dumps(offline),
            online=json.dumps(online),
            engine=lines,
        )
    )


def definitions(data: Path, views: Sequence[View], snapshots: int) -> list:
    """Returns entities and feature views over the files. No ttl, so that no store checks it."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Array, Float64, String

    objects = []
    for view in views:
        entity = Entity(name=view.entity, join_keys=[view.key], value_type=ValueType.STRING)
        source = FileSource(
            name=f"{view.name}_file",
            path=str(view.path(data, snapshots)),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        )
        floats = [Field(name=name, dtype=Float64) for name in view.features[:-1]]
        schema = [Field(name=view.key, dtype=String), *floats]
        schema.append(Field(name=view.vector, dtype=Array(Float64)))
        feature_view = FeatureView(
            name=view.name, entities=[entity], schema=schema, source=source, online=True
        )
        objects += [entity, feature_view]
    return objects
