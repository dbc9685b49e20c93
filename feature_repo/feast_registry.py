"""Feast's file registry in the state folder, also if CLIPWISE_HOME is not set."""

from pathlib import Path

from feast import FeatureStore
from feast.infra.registry.file import FileRegistryStore
from feast.repo_config import RegistryConfig

from feature_repo.feast_internals import registry_file
from feature_repo.home import resolve_home


class HomeRegistryStore(FileRegistryStore):
    """Feast's registry file; its configured ``path`` is ``${CLIPWISE_HOME}/<name>``."""

    def __init__(self, registry_config: RegistryConfig, repo_path: Path):
        configured, name = registry_config.path.rsplit("/", 1)
        self._file = resolve_home(configured, repo_path) / name
        self._file.parent.mkdir(parents=True, exist_ok=True)
        absolute = registry_config.model_copy(update={"path": str(self._file)})
        super().__init__(absolute, repo_path)

    def file_version(self) -> tuple[int, ...] | None:
        """Returns inode, time of change and size, which differ after each write; None: no file."""
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def registry_version(store: FeatureStore) -> tuple[int, ...] | None:
    """Returns the file version of a store's registry; None for another kind of registry.

    A caller must treat a registry without a version as changed.
    """
    file = registry_file(store)
    return file.file_version() if isinstance(file, HomeRegistryStore) else None
