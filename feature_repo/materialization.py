"""The public address of the compute engine, as `feature_store.yaml` names it."""

from feature_repo.online.materialize.engine import (
    IncrementalComputeEngine,
    IncrementalComputeEngineConfig,
)

__all__ = ["IncrementalComputeEngine", "IncrementalComputeEngineConfig"]
