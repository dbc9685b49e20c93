"""The settings of the service, read from the environment."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """Settings of one service.

    ``home`` is the folder of all state. ``replay`` fixes the clock at the lake's watermark. A
    recommendation times out after ``deadline_seconds``. The champion and the online store are
    checked for changes every ``poll_seconds``. ``webhook_secret`` verifies the registry's notices;
    without it the service accepts none. ``traced`` is true if the environment names a collector of
    OpenTelemetry traces. Workers leave files in ``run_folder`` for the worker that replaces one.
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


def settings_from_environment(environ: Mapping[str, str], **overrides: Any) -> Settings:
    """Reads the variables that ``infra/.env.example`` lists; ``overrides`` win over them.

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
