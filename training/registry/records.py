"""What is kept of a training run and of the version that it registered."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_repo.names import SERVICE_TAG
from training.registry.promotion_gate import Decision
from training.studies.learning_curve import Point


@dataclass(frozen=True)
class Lineage:
    """What a model was made from; ``git_commit`` is None outside a checkout."""

    lake_version: int
    watermark: datetime
    feature_service: str
    git_commit: str | None

    def tags(self) -> dict[str, str]:
        """The lineage as MLflow tags; Feast's own link reads ``feast.feature_service``."""
        tags = {
            "lake_version": str(self.lake_version),
            "watermark": self.watermark.isoformat(),
            "feature_service": self.feature_service,
            SERVICE_TAG: self.feature_service,
        }
        return tags | ({"git_commit": self.git_commit} if self.git_commit else {})


@dataclass(frozen=True)
class TrainingRun:
    """What is kept of a run before the gate: settings, lineage and files."""

    params: Mapping[str, Any]
    lineage: Lineage
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class Learning:
    """What only training can measure, kept for every later look at the version: the learning
    curve, and why a baseline could not learn. What the others scored is with the predictions."""

    curve: Sequence[Point]
    left_out: Mapping[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Learning":
        """What ``to_json`` wrote. Raises ValueError, KeyError or TypeError for other text."""
        raw = json.loads(text)
        return cls(tuple(Point(**point) for point in raw["curve"]), raw["left_out"])


@dataclass(frozen=True)
class Judgment:
    """What the gate adds to a version: metrics of every model, decision, artifact and files.

    ``artifact`` is what the decision was made on, as plain data for JSON. ``figures`` are files
    that stand in a folder of that name.
    """

    table: Mapping[str, Mapping[str, float]]
    decision: Decision
    artifact: Mapping[str, Any]
    files: Sequence[Path] = ()
    figures: Sequence[Path] = ()


@dataclass(frozen=True)
class Origin:
    """What a version was made of, to measure or to make it again; ``settings`` are its ranker's."""

    lake_version: int
    test_start: str
    seed: int
    git_commit: str | None
    settings: Mapping[str, str]
