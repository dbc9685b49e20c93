"""What a registered version has to show before it serves: the gate's artifact, of this very model.

Tags are shown to people and can be set by anyone, so they can only refuse. What lets a version
serve is an artifact of its run that names the version and the SHA-256 of its model file.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from feature_repo.names import (
    BASE_MARGIN,
    BASE_MARGIN_TAG,
    FORCED_FILE,
    GATE_FILE,
    GATE_PASSED,
    GATE_TAG,
    RANKER_MODEL,
    RANKER_SERVICE,
    SERVICE_TAG,
)
from serving.errors import ModelError, NotPassed
from serving.models.golden_rows import Golden


@dataclass(frozen=True)
class Registered:
    """A version as the registry holds it: tags, the bytes of its model file, and its artifacts.

    ``inputs`` are the columns of its signature. ``gate`` and ``forced`` are what the files of
    these names hold, ``golden`` the rows of GOLDEN_FILE, or None where there is no such file.
    """

    version: str
    tags: Mapping[str, str]
    model: bytes
    inputs: tuple[str, ...]
    gate: Mapping[str, Any] | None = None
    forced: Mapping[str, Any] | None = None
    golden: Golden | None = None

    @property
    def sha256(self) -> str:
        """The SHA-256 of the model file, in hexadecimal."""
        return hashlib.sha256(self.model).hexdigest()


def require_servable(registered: Registered) -> None:
    """Refuse a version that neither passed the gate nor was forced, as it is now.

    Raises ModelError; NotPassed if that is all that is wrong with it.
    """
    try:
        require_passed(registered)
    except NotPassed:
        if registered.forced is None:
            raise
        _require_match(registered, FORCED_FILE, registered.forced)


def require_passed(registered: Registered) -> None:
    """Refuse a version without an artifact of the gate that says passed and is of this model file.

    Raises NotPassed for a missing artifact or a gate that was not passed, which a person may
    overrule, and ModelError for an artifact of something else, which nobody may.
    """
    require_margin(registered)
    if registered.gate is None:
        raise NotPassed(
            f"{RANKER_MODEL} version {registered.version} has no artifact {GATE_FILE} in its run, "
            f"expected one that says {GATE_TAG}={GATE_PASSED}; run `clipwise gate --version "
            f"{registered.version}`."
        )
    _require_match(registered, GATE_FILE, registered.gate)
    said = (f"its artifact {GATE_FILE}", registered.gate), ("its tags", registered.tags)
    for place, of in said:
        if of.get(GATE_TAG) != GATE_PASSED:
            raise NotPassed(
                f"{RANKER_MODEL} version {registered.version} has {GATE_TAG}={of.get(GATE_TAG)} in "
                f"{place}, expected {GATE_PASSED}; promote a version that passed."
            )


def require_margin(registered: Registered) -> None:
    """Refuse trees that add to another rule than the one that serves. Raises ModelError."""
    margin = registered.tags.get(BASE_MARGIN_TAG)
    if margin != BASE_MARGIN:
        raise ModelError(
            f"{RANKER_MODEL} version {registered.version} has the tag {BASE_MARGIN_TAG}={margin}, "
            f"expected {BASE_MARGIN}; promote a version that `clipwise train` made."
        )


def require_service(registered: Registered) -> None:
    """Refuse a version that says it reads another feature service. Raises ModelError."""
    service = registered.tags.get(SERVICE_TAG, RANKER_SERVICE)
    if service != RANKER_SERVICE:
        raise ModelError(
            f"{RANKER_MODEL} version {registered.version} has the tag {SERVICE_TAG}={service}, "
            f"expected {RANKER_SERVICE}, which this service computes; train it again."
        )


def _require_match(registered: Registered, file: str, found: Mapping[str, Any]) -> None:
    """Whether an artifact is of this version and of its model file as it is now."""
    expected = {"version": registered.version, "sha256": registered.sha256}
    for name, value in expected.items():
        if found.get(name) != value:
            raise ModelError(
                f"{RANKER_MODEL} version {registered.version} has an artifact {file} with {name} "
                f"{found.get(name)}, expected {value}, that of the model that would serve; run "
                f"`clipwise gate --version {registered.version}`, or train it again."
            )
