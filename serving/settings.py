"""What a service needs to know about the machine it runs on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from feature_repo.home import REPOSITORY, resolve_home
from serving.decisions.settings import DecisionLogSettings
from serving.http.limits import Limits
from serving.models.experiment import Experiment, experiment_from_environment
from serving.online.settings import OnlineSettings
from serving.policy.policies import Policies, policies_from_environment
from serving.rules.settings import RuleSettings, rules_from_environment
from serving.runtime.environment import number

# OpenTelemetry's own names: a collector for everything, or one for traces alone.
_COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True)
class Settings:
    """Where state lives, where to listen, by how many processes, and which clock counts.

    A recommendation that takes more than ``deadline_seconds`` is given up.

    ``replay`` fixes the clock at the lake's watermark. ``poll_seconds`` is how often the champion
    and the online store are looked at for something newer. ``webhook_secret`` is what the registry
    signs its notices with; without one the service takes none. ``traced`` says that the
    environment names a collector of OpenTelemetry traces. In ``run_folder`` workers leave what one
    that takes another's place has to know.
    """

    home: Path
    tracking_uri: str
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    run_folder: Path | None = None
    replay: bool = False
    poll_seconds: float = 5.0
    deadline_seconds: float = 2.0
    webhook_secret: str | None = field(default=None, repr=False)
    traced: bool = False
    limits: Limits = field(default_factory=Limits)
    decisions: DecisionLogSettings = field(default_factory=DecisionLogSettings)
    rules: RuleSettings = field(default_factory=RuleSettings)
    online: OnlineSettings = field(default_factory=OnlineSettings)
    policies: Policies = field(default_factory=Policies)
    experiment: Experiment = field(default_factory=Experiment)

    @property
    def feature_repo(self) -> Path:
        """The folder of the Feast repository."""
        return REPOSITORY


def settings_from_environment(environ: Mapping[str, str], **overrides: object) -> Settings:
    """Settings from the variables that ``infra/.env.example`` lists; ``overrides`` win over all.

    Raises SettingsRefused.
    """
    overrides.setdefault("rules", rules_from_environment(environ))
    overrides.setdefault("policies", policies_from_environment(environ))
    overrides.setdefault("experiment", experiment_from_environment(environ))
    overrides.setdefault("decisions", DecisionLogSettings(days=_decision_days(environ)))
    overrides.setdefault("webhook_secret", environ.get("CLIPWISE_WEBHOOK_SECRET") or None)
    overrides.setdefault("limits", Limits(per_second=_rate_limit(environ)))
    overrides.setdefault("deadline_seconds", _deadline_seconds(environ))
    overrides.setdefault("traced", any(environ.get(name) for name in _COLLECTORS))
    configured = overrides.pop("home", None) or environ.get("CLIPWISE_HOME")
    home = resolve_home(str(configured) if configured else None)
    uri = overrides.pop("tracking_uri", None) or environ.get("MLFLOW_TRACKING_URI")
    return Settings(home=home, tracking_uri=uri or f"sqlite:///{home}/mlflow.db", **overrides)


def _decision_days(environ: Mapping[str, str]) -> float | None:
    return number(
        environ,
        "CLIPWISE_DECISION_DAYS",
        None,
        lambda days: 0 < days < math.inf,
        "more than 0 days to keep decision files (leave it out to keep all)",
    )


def _deadline_seconds(environ: Mapping[str, str]) -> float:
    return number(
        environ,
        "CLIPWISE_DEADLINE_SECONDS",
        Settings.deadline_seconds,
        lambda seconds: 0 < seconds < math.inf,
        "more than 0 seconds for a recommendation",
    )


def _rate_limit(environ: Mapping[str, str]) -> float:
    return number(
        environ,
        "CLIPWISE_RATE_LIMIT",
        Limits.per_second,
        lambda rate: 0 <= rate < math.inf,
        "the requests that a key may send per second (0 for no limit)",
    )
