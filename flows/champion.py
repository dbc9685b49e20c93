"""Champion changes: promotion, rollback, and the audit log that records them."""

import logging
from collections.abc import Mapping
from pathlib import Path

from feature_repo.names import CHAMPION, RANKER_MODEL
from flows.runtime import now, tracking_uri
from serving.errors import AuditFailed, ModelError, NotPassed
from serving.models.audit import FORCED, PROMOTE, ROLLBACK, AuditLog, previous_champion
from serving.models.mlflow_registry import MlflowRegistry, load_checked_ranker, load_ranker
from serving.models.registered_version import RegisteredVersion, require_passed, require_servable
from training.registry.mlflow_store import MlflowStore
from training.registry.run_reader import require_version
from training.registry.run_writer import record_forced, set_champion

log = logging.getLogger(__name__)


class PromotionRefused(Exception):
    """A version may not become champion. The message has the reason and the remedy."""


def tracking(home: Path) -> MlflowStore:
    """Returns the MLflow store of a state folder."""
    return MlflowStore(tracking_uri(home), home / "mlartifacts")


def registry(home: Path) -> MlflowRegistry:
    """Returns the registry of the same store, read as the service reads it."""
    return MlflowRegistry(tracking_uri(home))


def audit_log(home: Path) -> AuditLog:
    """Returns the log of champion changes. Each read also records changes made in MLflow."""
    return AuditLog(home, registry(home), now)


def current_champion(home: Path) -> str | None:
    """Returns the version with the alias champion, or None.

    Records a change of the alias that the audit log does not have. A failure of the log is only a
    warning here.
    """
    try:
        audit_log(home).check()
    except AuditFailed as error:
        log.warning("%s", error)
    return registry(home).champion_version()


def promote(home: Path, version: str, reason: str, actor: str, force: bool = False) -> str | None:
    """Makes a version the champion, which the service then loads.

    The service must be able to load the version, and it must have passed the gate. ``force``
    overrules only a failed or missing gate. A model file whose SHA-256 differs from the measured
    one stays refused.

    Returns the overruled objection, or None. The objection is also stored with the model, together
    with its SHA-256. Raises PromotionRefused.
    """
    _require_reason(reason)
    require_version(tracking(home), version)
    registered = _loadable(home, version)
    overruled = _gate_objection(registered)
    _require_golden(registered)
    if overruled and not force:
        raise PromotionRefused(f"{overruled} To serve it anyway, on the record, add --force.")
    with audit_log(home).record_change(version, actor, reason, FORCED if overruled else PROMOTE):
        if overruled:
            record = _force_record(registered, reason, actor, overruled)
            record_forced(tracking(home), version, record)
        set_champion(tracking(home), version, reason, actor)
    return overruled


def rollback(home: Path, reason: str, actor: str) -> str:
    """Makes the previous champion of the audit log the champion again. Returns its version.

    Raises PromotionRefused if there is no previous champion, or if the service cannot load it.
    """
    _require_reason(reason)
    changes = audit_log(home)
    changes.check()
    version = previous_champion(changes.changes())
    if version is None:
        raise PromotionRefused(
            "Expected a previous champion, but the audit log names no champion before the current "
            f"one. To serve the plain rule, remove the alias {CHAMPION} in the MLflow UI."
        )
    try:
        registered = _loadable(home, version)
        require_servable(registered)
        load_checked_ranker(registered)
    except ModelError as error:
        raise PromotionRefused(
            f"The previous champion cannot be served any more: {error}"
        ) from error
    with changes.record_change(version, actor, reason, ROLLBACK):
        set_champion(tracking(home), version, reason, actor)
    return version


def _loadable(home: Path, version: str) -> RegisteredVersion:
    """Reads a version and checks that the service can load its model, whatever the gate decided."""
    try:
        registered = registry(home).read(version)
        load_ranker(registered)
    except ModelError as error:
        raise PromotionRefused(str(error)) from error
    return registered


def _gate_objection(registered: RegisteredVersion) -> str | None:
    """Returns the gate's objection to the version, or None if it passed.

    Raises PromotionRefused for a fault that cannot be overruled.
    """
    try:
        require_passed(registered)
    except NotPassed as error:
        return str(error)
    except ModelError as error:
        raise PromotionRefused(f"{error} --force cannot overrule this.") from error
    return None


def _require_golden(registered: RegisteredVersion) -> None:
    """Refuses a version whose golden rows the service would refuse, even with force."""
    try:
        load_checked_ranker(registered)
    except ModelError as error:
        raise PromotionRefused(str(error)) from error


def _force_record(
    registered: RegisteredVersion, reason: str, actor: str, overruled: str
) -> Mapping[str, str]:
    return {
        "version": registered.version,
        "sha256": registered.sha256,
        "at": now().isoformat(),
        "actor": actor,
        "reason": reason,
        "overruled": overruled,
    }


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise PromotionRefused(
            f"Expected a reason for the change of {RANKER_MODEL}'s champion, got none. State it "
            "with --reason."
        )
