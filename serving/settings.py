"""What a service needs to know about the machine it runs on."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from feature_repo.home import REPOSITORY, resolve_home
from serving.errors import SettingsRefused
from serving.experiment import Experiment, experiment_from_environment
from serving.policies import Policies, policies_from_environment

# OpenTelemetry's own names: a collector for everything, or one for traces alone.
_COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True)
class DecisionLogSettings:
    """How many decisions may wait in memory, and when the waiting ones become a Parquet file.

    ``days`` is how long files are kept, None for ever: what was shown is what later rankers learn
    from.
    """

    capacity: int = 5_000
    rows_per_file: int = 2_000
    flush_seconds: float = 10.0
    days: float | None = None


@dataclass(frozen=True)
class OnlineSettings:
    """How long a read of the online store may take, and when a store in trouble is left alone.

    After ``failures`` in a row no request reads for ``pause_seconds``; then one tries again.
    ``remembered`` users are kept as they were last read.
    """

    deadline_seconds: float = 0.1
    failures: int = 5
    pause_seconds: float = 1.0
    remembered: int = 3_000


@dataclass(frozen=True)
class RuleSettings:
    """What a shop decides for all coupons.

    ``holdout_share`` of the users, from 0 to 1, gets nothing, so that what coupons do can be
    measured; ``holdout_salt`` draws other users. A coupon with a limit is reserved for the user who
    saw it for ``reservation_seconds``. ``ledger_redis``, as host:port, keeps the ledger in Redis
    instead of a file. Raises SettingsRefused for what cannot be.
    """

    holdout_share: float = 0.0
    holdout_salt: str = ""
    reservation_seconds: float = 900.0
    ledger_redis: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.holdout_share <= 1:
            raise SettingsRefused(
                f"Expected a holdout share from 0 to 1, got {self.holdout_share}; 0.05 holds out "
                "one user in twenty."
            )
        if not 0 < self.reservation_seconds < float("inf"):
            raise SettingsRefused(
                f"Expected reservations of more than 0 seconds, got {self.reservation_seconds}."
            )

        if not re.fullmatch(r"[^:\s]+:\d{1,5}", self.ledger_redis or "localhost:6379"):
            raise SettingsRefused(
                f"Expected the ledger's Redis as host:port, got {self.ledger_redis!r}; write it "
                "like 127.0.0.1:6379."
            )

    def held_out(self, user_id: str) -> bool:
        """Whether the user is in the holdout; always the same for the same salt."""
        digest = blake2b(f"{self.holdout_salt}\0{user_id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.holdout_share * 2**64


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
    overrides.setdefault("decisions", DecisionLogSettings(days=_days(environ)))
    overrides.setdefault("webhook_secret", environ.get("CLIPWISE_WEBHOOK_SECRET") or None)
    overrides.setdefault("limits", Limits(per_second=_rate(environ.get("CLIPWISE_RATE_LIMIT"))))
    overrides.setdefault("deadline_seconds", _deadline(environ.get("CLIPWISE_DEADLINE_SECONDS")))
    overrides.setdefault("traced", any(environ.get(name) for name in _COLLECTORS))
    configured = overrides.pop("home", None) or environ.get("CLIPWISE_HOME")
    home = resolve_home(str(configured) if configured else None)
    uri = overrides.pop("tracking_uri", None) or environ.get("MLFLOW_TRACKING_URI")
    return Settings(home=home, tracking_uri=uri or f"sqlite:///{home}/mlflow.db", **overrides)


def rules_from_environment(environ: Mapping[str, str]) -> RuleSettings:
    """From ``CLIPWISE_HOLDOUT_SHARE``, ``CLIPWISE_HOLDOUT_SALT``, ``CLIPWISE_RESERVATION_SECONDS``
    and ``CLIPWISE_LEDGER_REDIS``.

    Raises SettingsRefused.
    """

    def number(name: str, default: float) -> float:
        text = environ.get(name) or str(default)
        try:
            return float(text)
        except ValueError:
            raise SettingsRefused(f"{name} should be a number, got {text!r}.") from None

    return RuleSettings(
        number("CLIPWISE_HOLDOUT_SHARE", RuleSettings.holdout_share),
        environ.get("CLIPWISE_HOLDOUT_SALT", ""),
        number("CLIPWISE_RESERVATION_SECONDS", RuleSettings.reservation_seconds),
        environ.get("CLIPWISE_LEDGER_REDIS") or None,
    )


def _days(environ: Mapping[str, str]) -> float | None:
    return _number(
        environ.get("CLIPWISE_DECISION_DAYS"),
        None,
        lambda days: 0 < days < math.inf,
        "Expected in CLIPWISE_DECISION_DAYS how many days files of decisions are kept, more than "
        "0, got {}; leave it out to keep all.",
    )


def _deadline(text: str | None) -> float:
    return _number(
        text,
        Settings.deadline_seconds,
        lambda seconds: 0 < seconds < math.inf,
        "Expected in CLIPWISE_DEADLINE_SECONDS how long a recommendation may take, more than 0 "
        "seconds, got {}.",
    )


def _rate(text: str | None) -> float:
    return _number(
        text,
        Limits.per_second,
        lambda rate: 0 <= rate < math.inf,
        "Expected in CLIPWISE_RATE_LIMIT how many requests a second a key may make, or 0 for any "
        "number, got {}.",
    )


def _number(
    text: str | None, default: float | None, fits: Callable[[float], bool], refusal: str
) -> float | None:
    """The number that a variable holds, or the default without one; ``refusal`` takes the text."""
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not fits(number):
        raise SettingsRefused(refusal.format(repr(text)))
    return number
