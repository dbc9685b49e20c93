"""Reads the online store: one user a request, and all coupons when the index is built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from feature_repo.names import COUPON, PRODUCT, RANKER_SERVICE, USER
from serving.errors import NotReady

ALLOWANCE_TAG = "freshness_allowance_hours"


DEFAULT_ALLOWANCE_HOURS = 24.0


_BATCH = 500


Features = Mapping[str, tuple[str, ...]]


class Freshness(Protocol):
    """Says how far the features that a reader returns go."""

    def stale_features(self, as_of: datetime) -> list[str]:
        """The feature views that were materialized too long before ``as_of``."""

    def watermark(self) -> datetime | None:
        """The instant up to which every view is complete; None if one never was materialized."""


@dataclass(frozen=True)
class View:
    """A feature view of the service: whose it is, what it has, and how far it goes."""

    name: str
    join_keys: tuple[str, ...]
    features: tuple[str, ...]
    complete_until: datetime | None
    allowance: timedelta
    materializations: int = 0

    def is_stale(self, as_of: datetime) -> bool:
        return self.complete_until is None or as_of - self.complete_until > self.allowance


class FeastOnline:
    """The online store behind a Feast ``FeatureStore``, seen through one feature service.

    Which views are read comes from the service and the views' join keys. ``refresh`` must have
    been called once; later calls see what was materialized or applied since.
    """

    def __init__(self, store: Any, service: str = RANKER_SERVICE) -> None:
        self.store = store
        self._service = service
        self._views: tuple[View, ...] = ()
        self._watermark: datetime | None = None
        self._mark: tuple[int, ...] | None = None
        self._users: tuple[Features, Any] | None = None

    def refresh(self) -> None:
        """Read the registry again, if it changed.

        Raises NotReady if the feature service was not applied yet.
        """
        from feast.errors import FeastObjectNotFoundException

        from feature_repo.feast_registry import registry_version

        mark = registry_version(self.store)
        if mark is not None and mark == self._mark:
            return
        try:
            self.store.refresh_registry()
            service = self.store.get_feature_service(self._service, allow_cache=True)
            self._views = tuple(self._view(part) for part in service.feature_view_projections)
            ends = [view.complete_until for view in self._views]
            self._watermark = None if not ends or None in ends else min(ends)
            self._make_user_reader()
            self._mark = mark
        except (FeastObjectNotFoundException, FileNotFoundError) as error:
            raise NotReady(
                f"Expected the feature service {self._service} in the Feast registry, found none; "
                "run `clipwise materialize` or `feast apply` first."
            ) from error

    async def user(self, user_id: str) -> Mapping[str, Any]:
        """Every user feature by name, with None for each that is unknown.

        Belongs to one event loop.
        """
        if self._users is None:
            raise NotReady("Nothing is known of the feature views yet.")
        return await self._users[1].read(user_id)

    def nobody(self) -> dict[str, Any]:
        """The features of a user of whom nothing is known."""
        return dict.fromkeys(name for names in self._features(USER).values() for name in names)

    def _make_user_reader(self) -> None:
        """A reader of the users' views, if there are any; a new one when they have changed."""
        features = self._of_key(USER)
        if features and (self._users is None or self._users[0] != features):
            from feature_repo.online.entity_reader import entity_reader

            self._users = features, entity_reader(self.store, USER, features)

    def coupons(self, coupon_ids: Sequence[str]) -> dict[str, list]:
        """The coupon features, one entry a coupon in the order of ``coupon_ids``."""
        return self._all(COUPON, coupon_ids)

    def products(self, product_ids: Sequence[str]) -> dict[str, list]:
        """The product features, one entry a product in the order of ``product_ids``."""
        return self._all(PRODUCT, product_ids)

    def _all(self, join_key: str, ids: Sequence[str]) -> dict[str, list]:
        columns: dict[str, list] = {join_key: []}
        for start in range(0, len(ids), _BATCH):
            part = self._read(join_key, ids[start : start + _BATCH])
            for name, values in part.items():
                columns.setdefault(name, []).extend(values)
        return columns

    def stale_features(self, as_of: datetime) -> list[str]:
        """The views whose materialization ended longer before ``as_of`` than they allow."""
        return [view.name for view in self._views if view.is_stale(as_of)]

    def watermark(self) -> datetime | None:
        """The earliest of the views' latest materialization ends; None if one has none."""
        return self._watermark

    def materialized(self) -> tuple[datetime, int] | None:
        """The watermark and how often the views were materialized; None before all were."""
        watermark = self.watermark()
        if watermark is None:
            return None
        return watermark, sum(view.materializations for view in self._views)

    def _read(self, join_key: str, ids: Sequence[str]) -> dict[str, list]:
        features = [
            f"{view}:{name}" for view, names in self._features(join_key).items() for name in names
        ]
        rows = [{join_key: key} for key in ids]
        return self.store.get_online_features(features=features, entity_rows=rows).to_dict()

    def _features(self, join_key: str) -> Features:
        """The features of a join key, by view. Raises NotReady if there are none."""
        found = self._of_key(join_key)
        if not found:
            raise NotReady(f"Expected feature views by {join_key} in {self._service}, found none.")
        return found

    def _of_key(self, join_key: str) -> Features:
        return {view.name: view.features for view in self._views if view.join_keys == (join_key,)}

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
