"""Feast's entities, sources, feature views and feature services.

Instants inside features are Int64 microseconds since 1970-01-01 UTC; money is Int64 minor units.
Imports the names and the transforms. The descriptions of fields use these terms:

- ``known(row)`` is the later of its event_timestamp and created_timestamp. A version of a row is
  visible after that instant.
- A row "counts at t" in one version: among its versions with known < t, the one learned last (the
  greatest created_timestamp). Its other versions do not count at t.
- The "first version" of a product or coupon is the version that counted first: the one with the
  least known, and among several of these the one learned last. It is not used before it is known.
- "The last UTC midnight before t" is strictly before t. If t is a midnight, it is the midnight one
  day earlier.
- A user, product or coupon is known from the instant at which a version of it counts.

A view has a row of an entity from the earlier of two instants: when the entity is known, and when a
row that the view counts first counts (in a view as of midnight: first counts at a midnight). Before
that instant, all fields are null. From then on, a count or sum over no rows is 0. A latest instant,
a list or a description is null if there is none.
"""

from collections.abc import Mapping
from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource
from feast.types import FeastType

LAKE = "lake://"
"""Prefix of a source that is a published view of the lake and not a path."""

CHANGE_POINT_TTL = timedelta(days=36_500)
"""A hundred years, since the newest change row of an entity is correct at any age."""


def lake_view(
    entity: Entity,
    name: str,
    description: str,
    fields: Mapping[str, tuple[FeastType, str]],
) -> FeatureView:
    """Builds a feature view over a published view; ``fields`` has types and descriptions."""
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
