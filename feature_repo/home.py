"""Where Clipwise keeps its state: the folder named by CLIPWISE_HOME, else ``.clipwise``."""

from pathlib import Path

REPOSITORY = Path(__file__).parent
"""The Feast repository: the folder with feature_store.yaml."""


def resolve_home(configured: str | None, repository: Path = REPOSITORY) -> Path:
    """The state folder; unset, also as an unexpanded ``${CLIPWISE_HOME}``, means the default.

    The default lies beside the Feast repository, wherever the command is started.
    """
    if not configured or "${" in configured:
        return Path(repository).resolve().parent / ".clipwise"
    return Path(configured).expanduser().resolve()
