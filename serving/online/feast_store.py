"""Opens the Feast feature store of the service."""

from pathlib import Path
from typing import Any

# For bulk reads in the background. A request has its own, shorter timeout.
_REDIS_SECONDS = 5


def open_feature_store(repository: Path) -> Any:
    """Opens the Feast repository in a folder. Adds a socket timeout for Redis; Feast sets none."""
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(repository))
    online = store.config.online_store
    if hasattr(online, "connection_string"):
        online.connection_string = with_timeout(online.connection_string)
    return store


def with_timeout(redis: str) -> str:
    """Adds a socket timeout to Feast's connection string for Redis, unless it has one.

    >>> with_timeout("localhost:6379")
    'localhost:6379,socket_timeout=5'
    """
    return redis if "socket_timeout=" in redis else f"{redis},socket_timeout={_REDIS_SECONDS}"
