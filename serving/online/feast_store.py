"""Opens the Feast feature store of the service."""

from pathlib import Path
from typing import Any

# For what the background reads, in one piece; a request has its own deadline.
_REDIS_SECONDS = 5


def open_feature_store(repository: Path) -> Any:
    """Opens the Feast repository in a folder. Redis gets a socket timeout, which Feast omits."""
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(repository))
    online = store.config.online_store
    if hasattr(online, "connection_string"):
        online.connection_string = with_timeout(online.connection_string)
    return store


def with_timeout(redis: str) -> str:
    """Feast's address of a Redis, which otherwise is waited for without an end."""
    return redis if "socket_timeout=" in redis else f"{redis},socket_timeout={_REDIS_SECONDS}"
