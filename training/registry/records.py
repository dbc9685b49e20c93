"""The records of a training run and of its registered version."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_repo.names import SERVICE_TAG
from training.registry.promotion_gate import Decision
from training.studies.learning_curve import Point

PREDICTIONS_FILE = "predictions.parquet"
"""The artifact of a run with every model's scores of the test pairs."""
LEARNING_FILE = "learning.json"
"""The artifact of a run with its ``LearningRecord``."""
FIGURES_FOLDER = "figures"
"""The folder of the report's figures among the artifacts."""


@dataclass(frozen=True)
class Lineage:
    """The data and code that a model was made from; ``git_commit`` is None outside a checkout."""

    lake_version: int
    watermark: datetime
    feature_service: str
    git_commit: str | None

    def tags(self) -> dict[str, str]:
        """Returns the lineage as MLflow tags; Feast reads ``feast.feature_service``."""
        tags = {
            "lake_version": str(self.lake_version),
            "watermark": self.watermark.isoformat(),
            "feature_service": self.feature_service,
            SERVICE_TAG: self.feature_service,
        }
        return tags | ({"git_commit": self.git_commit} if self.git_commit else {})


@dataclass(frozen=True)
class TrainingRun:
    """The record of a run before the gate: settings, lineage and files."""

    params: Mapping[str, Any]
    lineage: Lineage
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class LearningRecord:
    """Results that only a training run can measure, kept for later reports of its version.

    ``left_out`` maps each baseline that could not be fitted to the reason. The scores of the others
    are in the predictions.
    """

    curve: Sequence[Point]
    left_out: Mapping[str, str]

    def to_json(self) -> str:
        """Serializes the record to JSON."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "LearningRecord":
        """Reads the text of ``to_json``. Raises ValueError, KeyError or TypeError for others."""
        raw = json.loads(text)
        return cls(tuple(Point(**point) for point in raw["curve"]), raw["left_out"])


@dataclass(frozen=True)
class GateRecord:
    """The gate's record of a version: metrics of every model, decision, artifact and files.

    ``artifact`` has the measurements behind the decision, as plain data for JSON. ``figures`` are
    files for the folder ``FIGURES_FOLDER``.
    """

    table: Mapping[str, Mapping[str, float]]
    decision: Decision
    artifact: Mapping[str, Any]
    files: Sequence[Path] = ()
    figures: Sequence[Path] = ()


@dataclass(frozen=True)
class Origin:
    """The data and ranker settings of a version, to measure it or to train it again."""

    lake_version: int
    test_start: str
    seed: int
    git_commit: str | None
    settings: Mapping[str, str]
