"""Who is champion: promote a version, return to the one before, and the log of all such changes."""

import logging
from collections.abc import Mapping
from pathlib import Path

from feature_repo.names import CHAMPION, RANKER_MODEL
from flows.runtime import now, tracking_uri
from serving.errors import AuditFailed, ModelError, NotPassed
from serving.models.audit import FORCED, PROMOTE, ROLLBACK, AuditLog, previous_champion
from serving.models.mlflow_registry import MlflowRegistry, load_checked_ranker, load_ranker
from serving.models.registered_version import RegisteredVersion, require_passed, require_servable
from training.registry.mlflow_runs import Tracking

log = logging.getLogger(__name__)


class PromotionRefused(Exception):
    """A version may not become champion; the message says why and what to do."""


def tracking(home: Path) -> Tracking:
    """The MLflow store of a state folder."""
    return Tracking(tracking_uri(home), home / "mlartifacts")


def registry(home: Path) -> MlflowRegistry:
    """The same store as the service sees it."""
    return MlflowRegistry(tracking_uri(home))


def audit_log(home: Path) -> AuditLog:
    """The log of every change of champion, brought up to date by whoever looks."""
    return AuditLog(home, registry(home), now)


def present_champion(home: Path) -> str | None:
    """The version that the alias champion names, or None; a change unseen so far is recorded."""
    try:
        audit_log(home).check()
    except AuditFailed as error:
        log.warning("%s", error)
    return registry(home).champion_version()


def promote(home: Path, version: str, reason: str, actor: str, force: bool = False) -> str | None:
    """Make a version the champion; the service then loads it.

    It has to be one that the service would load, and to have passed the gate. ``force`` overrules
    the gate alone, a failed or a missing one, and what it overruled is returned and kept beside the
    model with its SHA-256: a model file that is not the one that was measured stays refused.
    Raises PromotionRefused.
    """
    _require_reason(reason)
    tracking(home).require(version)
    registered = _sound(home, version)
    overruled = _objection(registered)
    _require_golden(registered)
    if overruled and not force:
        raise PromotionRefused(f"{overruled} With --force it serves all the same, on the record.")
    with audit_log(home).record_change(version, actor, reason, FORCED if overruled else PROMOTE):
        if overruled:
            tracking(home).force(version, _permit(registered, reason, actor, overruled))
        tracking(home).crown(version, reason, actor)
    return overruled


def rollback(home: Path, reason: str, actor: str) -> str:
    """Make the previous champion, as the log knows it, the champion again. Returns its version.

    Raises PromotionRefused if there was none, or if the service would not load it any more.
    """
    _require_reason(reason)
    changes = audit_log(home)
    changes.check()
    version = previous_champion(changes.changes())
    if version is None:
        raise PromotionRefused(
            "The audit log names no champion before the present one, so there is none to return "
            f"to; take the alias {CHAMPION} away in the MLflow UI, and the plain rule serves."
        )
    try:
        registered = _sound(home, version)
        require_servable(registered)
        load_checked_ranker(registered)
    except ModelError as error:
        raise PromotionRefused(f"The previous champion may not serve any more: {error}") from error
    with changes.record_change(version, actor, reason, ROLLBACK):
        tracking(home).crown(version, reason, actor)
    return version


def _sound(home: Path, version: str) -> RegisteredVersion:
    """A version whose model the service could load, whatever the gate said."""
    try:
        registered = registry(home).read(version)
        load_ranker(registered)
    except ModelError as error:
        raise PromotionRefused(str(error)) from error
    return registered


def _objection(registered: RegisteredVersion) -> str | None:
    """Why the gate does not let the version serve, or None; raises what cannot be overruled."""
    try:
        require_passed(registered)
    except NotPassed as error:
        return str(error)
    except ModelError as error:
        raise PromotionRefused(f"{error} No --force can change that.") from error
    return None


def _require_golden(registered: RegisteredVersion) -> None:
    """Refuse what the service would refuse for its golden rows, forced or not."""
    try:
        load_checked_ranker(registered)
    except ModelError as error:
        raise PromotionRefused(str(error)) from error


def _permit(
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
            f"Expected a reason for the change of {RANKER_MODEL}'s champion, got none: say why in "
            "a word."
        )
