"""Feast's view of what we know: entities, sources, feature views and feature services.

Instants inside features are Int64 microseconds since 1970-01-01 UTC; money is Int64 minor units.
The descriptions use these words:

- ``known(row)`` is the later of its event_timestamp and created_timestamp: from then on a version
  of a row is visible.
- A row "counts at t" as its version that was learned last (the greatest created_timestamp) among
  those with known < t. Its other versions do not count at t.
- The "first version" of a product or coupon is the one that counted first: the least known, and
  of several the one learned last. Nothing is seen of it before it is known.
- "The last UTC midnight before t" lies strictly before t: at midnight it is the one of the day
  before.
- A user, product or coupon is known from when a version of it counts.

A view has nothing to say of an entity, so that every field is null, until the entity is known or,
where that is earlier, until a row that it counts first counted (in a view as of midnight: first
counted at a midnight). From then on a count or sum over no rows is 0, and a latest instant, a list
or a description of nothing is null.
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
