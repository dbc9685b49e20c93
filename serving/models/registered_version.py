"""Checks of a registered version before it serves: gate, base margin, feature service.

A version may serve if an artifact of its run names its registered model, its number, and the
SHA-256 of its model file.
Anyone can set a tag, so a tag can refuse a version but never admit one.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from feature_repo.names import (
    BASE_MARGIN_TAG,
    FORCED_FILE,
    GATE_FILE,
    GATE_PASSED,
    GATE_TAG,
    SERVICE_TAG,
    RankerNames,
)
from serving.errors import ModelError, NotPassed
from serving.models.golden_rows import GoldenRows


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a ranker in the registry: its tags, model file in bytes, and artifacts.

    ``inputs`` are the columns of its signature, in order. ``gate`` and ``forced`` are the contents
    of GATE_FILE and FORCED_FILE, ``golden`` the rows of GOLDEN_FILE. None means no such file.
    """

    names: RankerNames
    version: str
    tags: Mapping[str, str]
    model: bytes
    inputs: tuple[str, ...]
    gate: Mapping[str, Any] | None = None
    forced: Mapping[str, Any] | None = None
    golden: GoldenRows | None = None

    @property
    def title(self) -> str:
        """The registered model and the version, for messages."""
        return f"{self.names.model} version {self.version}"

    @property
    def options(self) -> str:
        """The options of a command that name this version, for messages."""
        return f"--ranker {self.names.key} --version {self.version}"

    @property
    def sha256(self) -> str:
        """The SHA-256 of the model file, in hexadecimal."""
        return hashlib.sha256(self.model).hexdigest()


def require_servable(registered: RegisteredVersion) -> RegisteredVersion:
    """Returns the version if it passed the gate or was forced, with this model file.

    Raises NotPassed if the gate alone refuses it, else ModelError.
    """
    try:
        return require_passed(registered)
    except NotPassed:
        if registered.forced is None:
            raise
        _require_match(registered, FORCED_FILE, registered.forced)
        return registered


def require_passed(registered: RegisteredVersion) -> RegisteredVersion:
    """Returns the version if its gate artifact is for this model file and has ``gate=passed``.

    Raises NotPassed for a missing artifact or a failed gate, which a person may overrule. Raises
    ModelError for an artifact of another version or model file, which cannot be overruled.
    """
    require_margin(registered)
    if registered.gate is None:
        raise NotPassed(
            f"{registered.title} has no artifact {GATE_FILE} in its run, "
            f"expected one with {GATE_TAG}={GATE_PASSED}; run `clipwise gate {registered.options}`."
        )
    _require_match(registered, GATE_FILE, registered.gate)
    sources = {f"its artifact {GATE_FILE}": registered.gate, "its tags": registered.tags}
    for source, values in sources.items():
        if values.get(GATE_TAG) != GATE_PASSED:
            raise NotPassed(
                f"{registered.title} has {GATE_TAG}={values.get(GATE_TAG)}"
                f" in {source}, expected {GATE_PASSED}; promote a version that passed."
            )
    return registered


def require_margin(registered: RegisteredVersion) -> RegisteredVersion:
    """Returns the version if its trees add to the rule that serves. Raises ModelError."""
    margin = registered.tags.get(BASE_MARGIN_TAG)
    expected = registered.names.base_margin
    if margin != expected:
        raise ModelError(
            f"{registered.title} has the tag {BASE_MARGIN_TAG}={margin}, "
            f"expected {expected}; promote a version that `clipwise train` made."
        )
    return registered


def require_service(registered: RegisteredVersion) -> RegisteredVersion:
    """Returns the version if its tag names its ranker's feature service or is missing.

    Raises ModelError.
    """
    expected = registered.names.service
    service = registered.tags.get(SERVICE_TAG, expected)
    if service != expected:
        raise ModelError(
            f"{registered.title} has the tag {SERVICE_TAG}={service}, "
            f"expected {expected}, which this service computes; train it again."
        )
    return registered


def _require_match(registered: RegisteredVersion, file: str, artifact: Mapping[str, Any]) -> None:
    """Raises ModelError if an artifact names another model, version or model file."""
    expected = {
        "model": registered.names.model,
        "version": registered.version,
        "sha256": registered.sha256,
    }
    for name, value in expected.items():
        if artifact.get(name) != value:
            raise ModelError(
                f"{registered.title} has an artifact {file} with {name} "
                f"{artifact.get(name)}, expected {value}, as in the model that would serve; run "
                f"`clipwise gate {registered.options}`, or train it again."
            )
