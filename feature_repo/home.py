"""The state folder: named by CLIPWISE_HOME, by default ``.clipwise``."""

from pathlib import Path

REPOSITORY = Path(__file__).parent
"""The Feast repository: the folder with feature_store.yaml."""


def resolve_home(configured: str | None, repository: Path = REPOSITORY) -> Path:
    """Returns the state folder; an unset or unexpanded ``${CLIPWISE_HOME}`` means the default.

    The default lies beside the Feast repository. It does not depend on the working directory.
    """
    if not configured or "${" in configured:
        return Path(repository).resolve().parent / ".clipwise"
    return Path(configured).expanduser().resolve()
