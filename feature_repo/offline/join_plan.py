"""Plans of the as-of join: the source, join keys and features of each requested view."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.offline.entity_rows import EntityRows
from feature_repo.offline.errors import PointInTimeError
from feature_repo.offline.query import file_source


@dataclass(frozen=True)
class Plan:
    """The join of one view: source, join keys (entity column to source column), features.

    ``features`` maps names in the result to source columns. ``columns`` are all feature columns of
    the view; they decide between rows of one instant. ``happened`` and ``created`` are the source
    columns of the instants.
    """

    name: str
    source: FileSource
    keys: dict[str, str]
    features: dict[str, str]
    columns: tuple[str, ...]
    happened: str
    created: str | None
    ttl: timedelta | None


def plan_of(
    view: FeatureView, feature_refs: list[str], full_feature_names: bool, rows: EntityRows
) -> Plan:
    """Plans the join of a view.

    Raises PointInTimeError if the entity rows lack a join key or already have a feature.
    """
    reference = view.projection.name_to_use()  # type: ignore[no-untyped-call]  # Feast does not annotate it
    shown = view.projection.name_alias or view.name
    requested = [ref.split(":", 1)[1] for ref in feature_refs if ref.startswith(f"{reference}:")]
    source = file_source(view)
    renamed = {new: old for old, new in source.field_mapping.items()}
    aliases = view.projection.join_key_map or {}
    names = [c.name for c in view.entity_columns if c.name != DUMMY_ENTITY_ID]
    keys = {aliases.get(name, name): renamed.get(name, name) for name in names}
    features = {
        f"{shown}__{name}" if full_feature_names else name: renamed.get(name, name)
        for name in requested
    }
    _refuse_columns(reference, keys, features, rows.columns)
    columns = tuple(renamed.get(field.name, field.name) for field in view.features)
    happened, created = source.timestamp_field, source.created_timestamp_column or None
    return Plan(
        reference,
        source,
        keys,
        features,
        columns,
        renamed.get(happened, happened),
        renamed.get(created, created) if created else None,
        view.ttl,
    )


def _refuse_columns(
    reference: str, keys: Iterable[str], features: Iterable[str], columns: Sequence[str]
) -> None:
    missing = [key for key in keys if key not in columns]
    if missing:
        raise PointInTimeError(
            f"The view {reference} joins by {', '.join(keys)}, but the entity rows have "
            f"{', '.join(columns)}. Add {', '.join(missing)}."
        )
    twice = [name for name in features if name in columns]
    if twice:
        raise PointInTimeError(
            f"The entity rows already have a column {', '.join(twice)}, as the view {reference}; "
            "rename it, or use full_feature_names."
        )
