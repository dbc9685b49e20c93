"""Feast's view of what we know: entities, sources, feature views and feature services.

Instants inside features are Int64 microseconds since 1970-01-01 UTC; money is Int64 minor units.
In the descriptions, a row "counts at t" if it happened and was learned strictly before t and no
version of it that was learned later is visible at t; ``known(row)`` is the later of its
event_timestamp and created_timestamp.
"""

from collections.abc import Mapping
from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource
from feast.types import FeastType

LAKE = "lake://"
"""Sources with this prefix name a view that the lake publishes, not a path."""

CHANGE_POINT_TTL = timedelta(days=36_500)
"""The newest change row of an entity stays right however old it is."""


def lake_view(
    entity: Entity,
    name: str,
    description: str,
    fields: Mapping[str, tuple[FeastType, str]],
) -> FeatureView:
    """A feature view over a published view of the lake, with a description for every field."""
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=CHANGE_POINT_TTL,
        schema=[
            Field(name=field, dtype=kind, description=text)
            for field, (kind, text) in fields.items()
        ],
        source=FileSource(
            name=f"{name}_source",
            path=f"{LAKE}{name}",
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
        description=description,
        tags={"freshness_allowance_hours": "24"},
        online=True,
    )
