"""What a service needs to know about the machine it runs on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from feature_repo.home import REPOSITORY, resolve_home
from serving.errors import SettingsRefused

# OpenTelemetry's own names: a collector for everything, or one for traces alone.
_COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True)
class DecisionLogSettings:
    """How many decisions may wait in memory, and when the waiting ones become a Parquet file."""

    capacity: int = 5_000
    rows_per_file: int = 2_000
    flush_seconds: float = 10.0


@dataclass(frozen=True)
class Limits:
    """What one caller may take up.

    A request's head and body must each be there ``head_seconds`` and ``body_seconds`` after they
    were due, and an answer that waits to be read is given up after ``write_seconds``.
    ``per_second`` is how many requests a key may make in each worker; 0 sets no limit.
    """

    max_body_bytes: int = 1_048_576
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    write_seconds: float = 30.0
    per_second: float = 1_000.0


@dataclass(frozen=True)
class Settings:
    """Where state lives, where to listen, and which clock counts.

    ``replay`` fixes the clock at the lake's watermark. ``poll_seconds`` is how often the champion
    and the online store are looked at for something newer. ``webhook_secret`` is what the registry
    signs its notices with; without one the service takes none. ``traced`` says that the
    environment names a collector of OpenTelemetry traces.
    """

    home: Path
    tracking_uri: str
    host: str = "127.0.0.1"
    port: int = 8080
    replay: bool = False
    poll_seconds: float = 5.0
    webhook_secret: str | None = field(default=None, repr=False)
    traced: bool = False
    limits: Limits = field(default_factory=Limits)
    decisions: DecisionLogSettings = field(default_factory=DecisionLogSettings)

    @property
    def feature_repo(self) -> Path:
        """The folder of the Feast repository."""
        return REPOSITORY


def settings_from_environment(environ: Mapping[str, str], **overrides: object) -> Settings:
    """Settings from the variables that ``infra/.env.example`` lists; ``overrides`` win over all.

    Raises SettingsRefused.
    """
    overrides.setdefault("webhook_secret", environ.get("CLIPWISE_WEBHOOK_SECRET") or None)
    overrides.setdefault("limits", Limits(per_second=_rate(environ.get("CLIPWISE_RATE_LIMIT"))))
    overrides.setdefault("traced", any(environ.get(name) for name in _COLLECTORS))
    configured = overrides.pop("home", None) or environ.get("CLIPWISE_HOME")
    home = resolve_home(str(configured) if configured else None)
    uri = overrides.pop("tracking_uri", None) or environ.get("MLFLOW_TRACKING_URI")
    return Settings(home=home, tracking_uri=uri or f"sqlite:///{home}/mlflow.db", **overrides)


def _rate(text: str | None) -> float:
    if not text:
        return Limits.per_second
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < float("inf"):
        raise SettingsRefused(
            f"Expected in CLIPWISE_RATE_LIMIT how many requests a second a key may make, or 0 for "
            f"any number, got {text!r}."
        )
    return rate
