"""What a service needs to know about the machine it runs on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from feature_repo.home import REPOSITORY, resolve_home


@dataclass(frozen=True)
class DecisionLogSettings:
    """How many decisions may wait in memory, and when the waiting ones become a Parquet file."""

    capacity: int = 5_000
    rows_per_file: int = 2_000
    flush_seconds: float = 10.0


@dataclass(frozen=True)
class Settings:
    """Where state lives, where to listen, and which clock counts.

    ``replay`` fixes the clock at the lake's watermark. ``poll_seconds`` is how often the champion
    and the online store are looked at for something newer. ``webhook_secret`` is what the registry
    signs its notices with; without one the service takes none.
    """

    home: Path
    tracking_uri: str
    host: str = "127.0.0.1"
    port: int = 8080
    replay: bool = False
    poll_seconds: float = 5.0
    max_body_bytes: int = 1_048_576
    webhook_secret: str | None = field(default=None, repr=False)
    decisions: DecisionLogSettings = field(default_factory=DecisionLogSettings)

    @property
    def feature_repo(self) -> Path:
        """The folder of the Feast repository."""
        return REPOSITORY


def settings_from_environment(environ: Mapping[str, str], **overrides: object) -> Settings:
    """Settings from ``CLIPWISE_HOME``, ``MLFLOW_TRACKING_URI`` and ``CLIPWISE_WEBHOOK_SECRET``.

    ``overrides`` win over all of them.
    """
    overrides.setdefault("webhook_secret", environ.get("CLIPWISE_WEBHOOK_SECRET") or None)
    configured = overrides.pop("home", None) or environ.get("CLIPWISE_HOME")
    home = resolve_home(str(configured) if configured else None)
    uri = overrides.pop("tracking_uri", None) or environ.get("MLFLOW_TRACKING_URI")
    return Settings(home=home, tracking_uri=uri or f"sqlite:///{home}/mlflow.db", **overrides)
