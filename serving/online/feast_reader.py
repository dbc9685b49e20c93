"""Reads features through Feast: one user per request, all coupons for the candidate index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from feature_repo.names import COUPON, RANKERS, USER
from serving.errors import NotReady

ALLOWANCE_TAG = "freshness_allowance_hours"
"""Tag of a feature view: hours after its last materialization until it is stale."""


DEFAULT_ALLOWANCE_HOURS = 24.0


RANKER_SERVICES = tuple(names.service for names in RANKERS.values())
"""The feature services of all rankers. A user is read once for all of them."""

_BATCH = 500
"""Most entities in one read of Feast."""


Features = Mapping[str, tuple[str, ...]]
"""Feature names by feature view."""


class Freshness(Protocol):
    """The age of the features that a reader returns."""

    def stale_features(self, as_of: datetime) -> list[str]:
        """Returns the feature views whose last materialization is too old at ``as_of``."""

    def watermark(self) -> datetime | None:
        """Returns the instant up to which all views are materialized; None if one never was."""


class AlwaysFresh:
    """The freshness of features that are read as of the request's own instant."""

    def stale_features(self, as_of: datetime) -> list[str]:
        """Returns an empty list: no view is stale."""
        return []

    def watermark(self) -> datetime | None:
        """Returns None: no instant is too early."""
        return None


@dataclass(frozen=True)
class View:
    """A feature view of the service. ``complete_until`` is the end of its last materialization."""

    name: str
    join_keys: tuple[str, ...]
    features: tuple[str, ...]
    complete_until: datetime | None
    allowance: timedelta
    materializations: int = 0

    def is_stale(self, as_of: datetime) -> bool:
        """True if ``as_of`` is past the allowance, or the view was never materialized."""
        return self.complete_until is None or as_of - self.complete_until > self.allowance


class FeastOnline:
    """The online store of a Feast ``FeatureStore``, limited to some feature services.

    Reads all views of the services with the join key in question, each view once. Call ``refresh``
    before the first read, and again to see later ``feast apply`` and materializations.
    """

    def __init__(self, store: Any, services: Sequence[str] = RANKER_SERVICES) -> None:
        self.store = store
        self._services = services
        self._views: tuple[View, ...] = ()
        self._watermark: datetime | None = None
        self._registry_version: tuple[int, ...] | None = None
        self._users: tuple[Features, Any] | None = None

    def refresh(self) -> None:
        """Reads the Feast registry again if it changed.

        Raises NotReady if a feature service is not applied yet.
        """
        from feast.errors import FeastObjectNotFoundException

        from feature_repo.feast_registry import registry_version

        version = registry_version(self.store)
        if version is not None and version == self._registry_version:
            return
        try:
            self.store.refresh_registry()
            self._views = tuple(self._view(part) for part in self._projections())
            ends = [view.complete_until for view in self._views if view.complete_until]
            self._watermark = min(ends) if ends and len(ends) == len(self._views) else None
            self._make_user_reader()
            self._registry_version = version
        except (FeastObjectNotFoundException, FileNotFoundError) as error:
            raise NotReady(
                f"Expected the feature services {', '.join(self._services)} in the Feast registry; "
                "not all are there: run `clipwise materialize` or `feast apply` first."
            ) from error

    async def user(self, user_id: str) -> Mapping[str, Any]:
        """Returns every user feature by name, None if unknown. Use from one event loop only.

        Raises NotReady before the first ``refresh``.
        """
        if self._users is None:
            raise NotReady("The feature views are not read from the Feast registry yet.")
        return await self._users[1].read(user_id)

    def unknown_user(self) -> dict[str, Any]:
        """Returns None for every user feature."""
        return dict.fromkeys(name for names in self._features(USER).values() for name in names)

    def _make_user_reader(self) -> None:
        """Makes a reader of the user views, if there are any and they changed."""
        features = self._views_by(USER)
        if features and (self._users is None or self._users[0] != features):
            from feature_repo.online.entity_reader import entity_reader

            self._users = features, entity_reader(self.store, USER, features)

    def coupons(self, coupon_ids: Sequence[str]) -> dict[str, list[Any]]:
        """Returns the coupon features as columns, in the order of ``coupon_ids``."""
        return self._read_all(COUPON, coupon_ids)

    def _read_all(self, join_key: str, ids: Sequence[str]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {join_key: []}
        for start in range(0, len(ids), _BATCH):
            part = self._read(join_key, ids[start : start + _BATCH])
            for name, values in part.items():
                columns.setdefault(name, []).extend(values)
        return columns

    def stale_features(self, as_of: datetime) -> list[str]:
        """Returns the views whose last materialization ended too long before ``as_of``."""
        return [view.name for view in self._views if view.is_stale(as_of)]

    def watermark(self) -> datetime | None:
        """Returns the earliest end of the views' last materializations; None if one has none."""
        return self._watermark

    def materialized(self) -> tuple[datetime, int] | None:
        """Returns the watermark and the number of materializations; None before all views have one.

        The value changes with every materialization.
        """
        watermark = self.watermark()
        if watermark is None:
            return None
        return watermark, sum(view.materializations for view in self._views)

    def _read(self, join_key: str, ids: Sequence[str]) -> dict[str, list[Any]]:
        features = [
            f"{view}:{name}" for view, names in self._features(join_key).items() for name in names
        ]
        rows = [{join_key: key} for key in ids]
        return self.store.get_online_features(features=features, entity_rows=rows).to_dict()

    def _features(self, join_key: str) -> Features:
        """Returns the features of a join key by view. Raises NotReady if there are none."""
        found = self._views_by(join_key)
        if not found:
            raise NotReady(
                f"Expected feature views by {join_key} in {', '.join(self._services)}, found none."
            )
        return found

    def _views_by(self, join_key: str) -> Features:
        return {view.name: view.features for view in self._views if view.join_keys == (join_key,)}

    def _projections(self) -> list[Any]:
        """Returns the views of the services, each once: every service has whole views."""
        found: dict[str, Any] = {}
        for name in self._services:
            service = self.store.get_feature_service(name, allow_cache=True)
            found.update({one.name_to_use(): one for one in service.feature_view_projections})
        return list(found.values())

    def _view(self, projection: Any) -> View:
        view = self.store.registry.get_any_feature_view(
            projection.name, self.store.project, allow_cache=True
        )
        return View(
            name=projection.name_to_use(),
            join_keys=tuple(view.join_keys),
            features=tuple(feature.name for feature in projection.features),
            complete_until=view.most_recent_end_time,
            materializations=len(view.materialization_intervals),
            allowance=timedelta(hours=float(view.tags.get(ALLOWANCE_TAG, DEFAULT_ALLOWANCE_HOURS))),
        )
