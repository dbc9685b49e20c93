"""Feast's file registry, kept below CLIPWISE_HOME also where the variable is not set."""

from pathlib import Path

from feast.infra.registry.file import FileRegistryStore
from feast.repo_config import RegistryConfig

from feature_repo.home import resolve_home


class HomeRegistryStore(FileRegistryStore):
    """Feast's registry file; its ``path`` is given as ``${CLIPWISE_HOME}/<name>``."""

    def __init__(self, registry_config: RegistryConfig, repo_path: Path):
        super().__init__(registry_config, repo_path)
        configured, name = registry_config.path.rsplit("/", 1)
        self._filepath = resolve_home(configured, repo_path) / name
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
