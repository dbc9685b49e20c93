"""The public address of the guarded online stores, as `feature_store.yaml` names them."""

from feature_repo.online.redis.store import GuardedRedisOnlineStore, GuardedRedisOnlineStoreConfig
from feature_repo.online.sqlite.store import (
    GuardedSqliteOnlineStore,
    GuardedSqliteOnlineStoreConfig,
)

__all__ = [
    "GuardedRedisOnlineStore",
    "GuardedRedisOnlineStoreConfig",
    "GuardedSqliteOnlineStore",
    "GuardedSqliteOnlineStoreConfig",
]
