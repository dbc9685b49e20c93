"""Champion changes: promotion, rollback, and the audit log that records them."""

import logging
from collections.abc import Mapping
from pathlib import Path

from feature_repo.names import CHAMPION, RANKERS, RankerNames
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


def tracking(home: Path, ranker: RankerNames) -> MlflowStore:
    """Returns the MLflow store of a state folder, for one ranker."""
    return MlflowStore(tracking_uri(home), home / "mlartifacts", ranker)


def registry(home: Path, ranker: RankerNames) -> MlflowRegistry:
    """Returns the registry of the same store, read as the service reads it."""
    return MlflowRegistry(tracking_uri(home), ranker)


def audit_log(home: Path) -> AuditLog:
    """Returns the log of champion changes of all rankers.

    Each read also records changes made in MLflow.
    """
    return AuditLog(home, {one.model: registry(home, one) for one in RANKERS.values()}, now)


def current_champion(home: Path, ranker: RankerNames) -> str | None:
    """Returns the version of a ranker with the alias champion, or None.

    Records a change of an alias that the audit log does not have. A failure of the log is only a
    warning here.
    """
    try:
        audit_log(home).check()
    except AuditFailed as error:
        log.warning("%s", error)
    return registry(home, ranker).champion_version()


def promote(
    home: Path,
    ranker: RankerNames,
    version: str,
    reason: str,
    actor: str,
    force: bool = False,
) -> str | None:
    """Makes a version of a ranker its champion, which the service then loads.

    The service must be able to load the version, and it must have passed the gate. ``force``
    overrules only a failed or missing gate. A model file whose SHA-256 differs from the measured
    one stays refused.

    Returns the overruled objection, or None. The objection is also stored with the model, together
    with its SHA-256. Raises PromotionRefused.
    """
    _require_reason(ranker, reason)
    store = tracking(home, ranker)
    require_version(store, version)
    registered = _loadable(home, ranker, version)
    overruled = _gate_objection(registered)
    _require_golden(registered)
    if overruled and not force:
        raise PromotionRefused(f"{overruled} To serve it anyway, on the record, add --force.")
    how = FORCED if overruled else PROMOTE
    with audit_log(home).record_change(ranker.model, version, actor, reason, how):
        if overruled:
            record_forced(store, version, _force_record(registered, reason, actor, overruled))
        set_champion(store, version, reason, actor)
    return overruled


def rollback(home: Path, ranker: RankerNames, reason: str, actor: str) -> str:
    """Makes a ranker's previous champion of the audit log champion again. Returns its version.

    Raises PromotionRefused if there is no previous champion, or if the service cannot load it.
    """
    _require_reason(ranker, reason)
    changes = audit_log(home)
    changes.check()
    version = previous_champion(changes.changes(), ranker.model)
    if version is None:
        raise PromotionRefused(
            f"Expected a previous champion of {ranker.model}, but the audit log names none before "
            f"the current one. To serve the plain rule, remove the alias {CHAMPION} in the MLflow "
            "UI."
        )
    try:
        registered = _loadable(home, ranker, version)
        require_servable(registered)
        load_checked_ranker(registered)
    except ModelError as error:
        raise PromotionRefused(
            f"The previous champion cannot be served any more: {error}"
        ) from error
    with changes.record_change(ranker.model, version, actor, reason, ROLLBACK):
        set_champion(tracking(home, ranker), version, reason, actor)
    return version


def _loadable(home: Path, ranker: RankerNames, version: str) -> RegisteredVersion:
    """Reads a version and checks that the service can load its model, whatever the gate decided."""
    try:
        registered = registry(home, ranker).read(version)
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
        "model": registered.names.model,
        "version": registered.version,
        "sha256": registered.sha256,
        "at": now().isoformat(),
        "actor": actor,
        "reason": reason,
        "overruled": overruled,
    }


def _require_reason(ranker: RankerNames, reason: str) -> None:
    if not reason.strip():
        raise PromotionRefused(
            f"Expected a reason for the change of {ranker.model}'s champion, got none. State it "
            "with --reason."
        )
