"""The public address of the registry store, as `feature_store.yaml` names it."""

from feature_repo.feast_registry import HomeRegistryStore

__all__ = ["HomeRegistryStore"]
