"""Feast's file registry, kept below CLIPWISE_HOME also where the variable is not set."""

from pathlib import Path

from feast import FeatureStore
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

    def mark(self) -> tuple[int, ...] | None:
        """What is another one once the file was written again; None while there is none."""
        try:
            found = self._filepath.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def registry_mark(store: FeatureStore) -> tuple[int, ...] | None:
    """The mark of a store's registry; None where it is no file of ours, and may always be new."""
    file = getattr(store.registry, "_registry_store", None)
    return file.mark() if isinstance(file, HomeRegistryStore) else None
