"""The public address of the offline store, as `feature_store.yaml` names it."""

from feature_repo.offline.errors import PointInTimeError
from feature_repo.offline.store import PointInTimeOfflineStore, PointInTimeOfflineStoreConfig

__all__ = ["PointInTimeError", "PointInTimeOfflineStore", "PointInTimeOfflineStoreConfig"]
