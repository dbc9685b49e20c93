"""Row ttl: a row that is older than its view allows counts as absent when it is read online.

Feast enforces a view's ttl offline only. The instant to which the age of a row is measured is
the store's ``as_of`` setting if there is one, else what its ``clock`` says.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from click import ClickException
from feast.feature_view import FeatureView
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.repo_config import RepoConfig
from feast.utils import make_tzaware
from pydantic import BeforeValidator

from feature_repo.lake.state import LakeError, instant

Row = tuple[datetime | None, dict | None]


class BadInstant(LakeError, ClickException):
    """A setting that is no instant; the feast command prints it as one sentence."""


def _instant(value: Any) -> datetime | None:
    """YAML reads an unquoted instant as a date and time already."""
    if value is None:
        return None
    try:
        return instant(value.isoformat() if isinstance(value, datetime) else str(value))
    except LakeError as error:
        raise BadInstant(f"The online store's as_of is no instant. {error}") from error


AsOf = Annotated[datetime | None, BeforeValidator(_instant)]
"""A setting: an instant with its zone, or none."""


def wall_clock() -> datetime:
    return datetime.now(UTC)


class RowAge:
    """Mixed into a Feast online store: every way of reading leaves out rows past their ttl.

    ``online_read`` gives such a row's instant and no values; ``get_online_features`` gives nulls
    with the status OUTSIDE_MAX_AGE.
    """

    clock: Callable[[], datetime] = staticmethod(wall_clock)

    def oldest(self, config: RepoConfig, view: FeatureView) -> datetime | None:
        """The instant before which a row of the view counts as absent; None without a ttl."""
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
        entity_keys: list,
        requested_features: list[str] | None = None,
    ) -> list[Row]:
        rows = super().online_read(config, table, entity_keys, requested_features)
        oldest = self.oldest(config, table)
        if oldest is None:
            return rows
        return _fresh(self._exact(config, table, entity_keys, rows, oldest), oldest)

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list,
        requested_features: list[str] | None = None,
    ) -> list[Row]:
        rows = await super().online_read_async(config, table, entity_keys, requested_features)
        oldest = self.oldest(config, table)
        return rows if oldest is None else _fresh(rows, oldest)

    def _exact(
        self, config: RepoConfig, view: FeatureView, keys: list, rows: list[Row], oldest: datetime
    ) -> list[Row]:
        """The rows with exact instants, where the store reads rounded ones."""
        return rows

    def _read_features_per_fv(
        self, config: RepoConfig, grouped_refs: list, keys, names, response, *options: bool
    ) -> None:
        start = len(response.results)
        super()._read_features_per_fv(config, grouped_refs, keys, names, response, *options)
        self._leave_out_old(config, grouped_refs, response.results[start:])

    async def _read_features_per_fv_async(
        self, config: RepoConfig, grouped_refs: list, keys, names, response, *options: bool
    ) -> None:
        start = len(response.results)
        await super()._read_features_per_fv_async(
            config, grouped_refs, keys, names, response, *options
        )
        self._leave_out_old(config, grouped_refs, response.results[start:])

    def _leave_out_old(self, config: RepoConfig, grouped_refs: list, vectors: Sequence) -> None:
        for view, features in grouped_refs:
            own, vectors = vectors[: len(features)], vectors[len(features) :]
            oldest = self.oldest(config, view)
            if oldest is not None and own:
                _blank(own, oldest)


def _fresh(rows: list[Row], oldest: datetime) -> list[Row]:
    return [(at, None) if at is not None and at < oldest else (at, row) for at, row in rows]


def _blank(vectors: Sequence, oldest: datetime) -> None:
    """Empty the values of the rows from before ``oldest``: one vector a feature."""
    for row, at in enumerate(vectors[0].event_timestamps):
        # An entity that is not there at all has no instant, which reads as 1970.
        if (at.seconds or at.nanos) and at.ToDatetime(UTC) < oldest:
            for vector in vectors:
                vector.values[row].Clear()
                vector.statuses[row] = FieldStatus.OUTSIDE_MAX_AGE
