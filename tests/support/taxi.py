"""A foreign Feast repository for the tests: drivers, riders, places, and on-demand fares.

Its definitions name nothing of Clipwise; only ``feature_store.yaml`` names a store.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

OURS = "feature_repo.point_in_time.PointInTimeOfflineStore"
T0 = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR, DAY, MICRO = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)

DEFINITIONS = """
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Float32, Float64, Int64, String

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
rider = Entity(name="rider", join_keys=["rider_id"], value_type=ValueType.STRING)
place = Entity(name="place", join_keys=["place_id"], value_type=ValueType.INT64)


def source(name, **options):
    return FileSource(
        name=f"{name}_source",
        path=f"DATA/{name}.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        **options,
    )


driver_stats = FeatureView(
    name="driver_stats",
    entities=[driver],
    ttl=timedelta(days=2),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="trips", dtype=Int64),
        Field(name="rating", dtype=Float32),
        Field(name="name", dtype=String),
        Field(name="active", dtype=Bool),
        Field(name="profile", dtype=Array(Float64)),
    ],
    source=source("driver_stats"),
)
rider_stats = FeatureView(
    name="rider_stats",
    entities=[rider],
    schema=[
        Field(name="rider_id", dtype=String),
        Field(name="trips", dtype=Int64),
        Field(name="spent", dtype=Float64),
    ],
    source=source("rider_stats", field_mapping={"passenger": "rider_id", "sum": "spent"}),
)
pairing = FeatureView(
    name="pairing",
    entities=[driver, rider],
    ttl=timedelta(days=10),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="rider_id", dtype=String),
        Field(name="rides", dtype=Int64),
    ],
    source=source("pairing"),
)
weather = FeatureView(
    name="weather",
    entities=[place],
    ttl=timedelta(0),
    schema=[Field(name="place_id", dtype=Int64), Field(name="degrees", dtype=Float64)],
    source=source("weather"),
)
fare_input = RequestSource(name="fare_input", schema=[Field(name="meters", dtype=Int64)])


@on_demand_feature_view(
    sources=[driver_stats, fare_input],
    schema=[Field(name="fare", dtype=Float64)],
    mode="pandas",
)
def fare(inputs):
    import pandas as pd

    return pd.DataFrame({"fare": inputs["meters"] * 0.01 + inputs["trips"].fillna(0)})


ride = FeatureService(
    name="ride",
    features=[
        driver_stats[["trips", "rating"]],
        weather.with_name("origin").with_join_key_map({"place_id": "origin_id"}),
        weather.with_name("destination").with_join_key_map({"place_id": "destination_id"}),
    ],
)
"""

YAML = """
project: taxi
provider: local
registry: data/registry.db
offline_store:
{offline}
online_store:
  type: sqlite
  path: data/online.db
entity_key_serialization_version: 3
"""

NAMES = {
    "driver_stats": ["driver_id", "trips", "rating", "name", "active", "profile"],
    "rider_stats": ["passenger", "trips", "sum"],
    "pairing": ["driver_id", "rider_id", "rides"],
    "weather": ["place_id", "degrees"],
}


def write(
    folder: Path, offline: dict, rows: dict[str, list[tuple]], data: str | Path = "data"
) -> Path:
    """Writes a repository to ``folder``; ``rows`` by view: its columns, event_timestamp, created.

    ``data`` is the sources' path in the definitions. Feast's own stores read a relative path from
    the working directory.
    """
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "definitions.py").write_text(DEFINITIONS.replace("DATA", str(data)))
    settings = "".join(
        f"  {name}: {str(value).lower() if isinstance(value, bool) else value}\n"
        for name, value in offline.items()
    )
    (folder / "feature_store.yaml").write_text(YAML.format(offline=settings.rstrip()))
    for name, columns in NAMES.items():
        save(folder, name, rows.get(name, []), columns)
    return folder


def save(folder: Path, name: str, rows: list[tuple], columns: list[str]) -> None:
    """Writes a view's Parquet file, with instants in UTC microseconds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        **dict.fromkeys(("driver_id", "trips", "rides", "place_id"), pa.int64()),
        **dict.fromkeys(("sum", "degrees"), pa.float64()),
        **dict.fromkeys(("name", "passenger", "rider_id"), pa.string()),
        **dict.fromkeys(("event_timestamp", "created"), pa.timestamp("us", "UTC")),
        "rating": pa.float32(),
        "active": pa.bool_(),
        "profile": pa.list_(pa.float64()),
    }
    names = [*columns, "event_timestamp", "created"]
    values = list(zip(*rows, strict=True)) if rows else [[] for _ in names]
    table = pa.table({n: pa.array(v, kinds[n]) for n, v in zip(names, values, strict=True)})
    pq.write_table(table, folder / "data" / f"{name}.parquet")


def store(folder: Path):
    """Opens the repository's Feast store and applies its definitions, as ``feast apply`` does."""
    import runpy

    from feast import Entity, FeatureService, FeatureStore, FeatureView, OnDemandFeatureView

    found = FeatureStore(repo_path=str(folder))
    kinds = (Entity, FeatureService, FeatureView, OnDemandFeatureView)
    objects = runpy.run_path(str(folder / "definitions.py")).values()
    found.apply([one for one in objects if isinstance(one, kinds)])
    return found


def entity_frame(rows: list[tuple], names: str) -> pd.DataFrame:
    """Returns entity rows with the columns of ``names`` and an event_timestamp."""
    return pd.DataFrame(rows, columns=[*names.split(), "event_timestamp"])
