"""Row ttl online: a row older than its view's ttl counts as absent when it is read.

Feast enforces a view's ttl offline only. The age of a row is measured at the store's ``as_of``
setting if there is one, else at the time of its ``clock``.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from click import ClickException
from feast.feature_view import FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.repo_config import RepoConfig
from feast.utils import make_tzaware
from pydantic import BeforeValidator

from feature_repo.lake.state import LakeError, instant

Row = tuple[datetime | None, dict[str, Any] | None]
"""The instant of a row and its values by feature; None for an absent row."""


class BadInstant(LakeError, ClickException):
    """A setting that is no instant; the feast command prints it as one sentence."""


def _instant(value: Any) -> datetime | None:
    """Parses a setting; YAML turns an unquoted instant into a datetime already."""
    if value is None:
        return None
    try:
        return instant(value.isoformat() if isinstance(value, datetime) else str(value))
    except LakeError as error:
        raise BadInstant(f"The online store's as_of is no instant. {error}") from error


AsOf = Annotated[datetime | None, BeforeValidator(_instant)]
"""A setting: an instant with its zone, or none."""


def wall_clock() -> datetime:
    """Returns the current instant, UTC."""
    return datetime.now(UTC)


class ExpiringStore(OnlineStore):
    """Base of a Feast online store in which every way of reading leaves out expired rows.

    ``online_read`` returns the instant of an expired row and no values. ``get_online_features``
    returns nulls with the status OUTSIDE_MAX_AGE.
    """

    clock: Callable[[], datetime] = staticmethod(wall_clock)

    def cutoff(self, config: RepoConfig, view: FeatureView) -> datetime | None:
        """Returns the instant before which a row of the view is expired; None without a ttl."""
        ttl = getattr(view, "ttl", None)
        if not ttl:
            return None
        try:
            return make_tzaware(config.online_store.as_of or self.clock()) - ttl
        except OverflowError:
            return None

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Row]:
        """Reads rows as Feast does, without the values of expired rows."""
        rows = super().online_read(  # type: ignore[safe-super]  # Feast's store, the next base, has it
            config, table, entity_keys, requested_features
        )
        return self._without_expired(config, table, entity_keys, rows)

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Row]:
        """Does the same as ``online_read``, without blocking the event loop."""
        rows = await super().online_read_async(config, table, entity_keys, requested_features)
        return self._without_expired(config, table, entity_keys, rows)

    def _without_expired(
        self, config: RepoConfig, view: FeatureView, keys: list[EntityKey], rows: list[Row]
    ) -> list[Row]:
        cutoff = self.cutoff(config, view)
        if cutoff is None:
            return rows
        exact = self.with_exact_instants(config, view, keys, rows, cutoff)
        return [(at, None) if at is not None and at < cutoff else (at, row) for at, row in exact]

    def with_exact_instants(
        self,
        config: RepoConfig,
        view: FeatureView,
        keys: list[EntityKey],
        rows: list[Row],
        cutoff: datetime,
    ) -> list[Row]:
        """Returns the rows with exact instants, for a store that reads rounded ones."""
        return rows

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[Any],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        start = len(online_features_response.results)
        super()._read_features_per_fv(
            config,
            grouped_refs,
            join_key_values,
            entity_name_to_join_key_map,
            online_features_response,
            full_feature_names,
            include_feature_view_version_metadata,
        )
        self._blank_expired(config, grouped_refs, online_features_response.results[start:])

    async def _read_features_per_fv_async(
        self,
        config: RepoConfig,
        grouped_refs: list[Any],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        start = len(online_features_response.results)
        await super()._read_features_per_fv_async(
            config,
            grouped_refs,
            join_key_values,
            entity_name_to_join_key_map,
            online_features_response,
            full_feature_names,
            include_feature_view_version_metadata,
        )
        self._blank_expired(config, grouped_refs, online_features_response.results[start:])

    def _blank_expired(
        self, config: RepoConfig, grouped_refs: list[Any], vectors: Sequence[Any]
    ) -> None:
        for view, features in grouped_refs:
            own, vectors = vectors[: len(features)], vectors[len(features) :]
            cutoff = self.cutoff(config, view)
            if cutoff is not None and own:
                _blank(own, cutoff)


def _blank(vectors: Sequence[Any], cutoff: datetime) -> None:
    """Clears the values of the rows from before the cutoff; there is one vector a feature."""
    for row, at in enumerate(vectors[0].event_timestamps):
        # An absent entity has no instant, which reads as 1970.
        if (at.seconds or at.nanos) and at.ToDatetime(UTC) < cutoff:
            for vector in vectors:
                vector.values[row].Clear()
                vector.statuses[row] = FieldStatus.OUTSIDE_MAX_AGE
