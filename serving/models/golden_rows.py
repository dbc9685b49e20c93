"""Golden rows: inputs with the scores that training gave them, which a ranker must give again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from feature_repo.names import GOLDEN_FILE, RANKER_MODEL, SCORE
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.errors import ModelError

# The trees add up to the same bits everywhere. The logarithm that they start from does not: NumPy
# takes the one of its build and processor, whose last bit differs.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Golden:
    """``inputs`` is float32 of shape ``(n, len(RANKER_INPUTS))``, ``scores`` has ``n`` values."""

    inputs: np.ndarray
    scores: np.ndarray


class Scores(Protocol):
    """A ranker, as far as golden rows need it."""

    version: str

    def score(self, inputs: np.ndarray) -> np.ndarray: ...


def read_golden(file: Path) -> Golden:
    """The rows of a file that training wrote. Raises ValueError, KeyError or OSError."""
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    inputs = [table[name].to_numpy() for name in RANKER_INPUTS]
    return Golden(np.column_stack(inputs).astype(np.float32), table[SCORE].to_numpy())


def require_golden(ranker: Scores, golden: Golden | None) -> None:
    """Refuse a ranker without golden rows, or one that scores them otherwise. Raises ModelError."""
    if golden is None or not len(golden.scores):
        raise ModelError(
            f"{RANKER_MODEL} version {ranker.version} has no rows in the artifact {GOLDEN_FILE} of "
            "its run to be checked on; train it again with `clipwise train`."
        )
    scores = ranker.score(golden.inputs)
    agree = np.isclose(scores, golden.scores, rtol=TOLERANCE, atol=TOLERANCE)
    if not agree.all():
        row = int(np.argmin(agree))
        raise ModelError(
            f"{RANKER_MODEL} version {ranker.version} scores {int((~agree).sum())} of its "
            f"{len(agree)} golden rows otherwise than in training, such as row {row} with "
            f"{scores[row]:g}, expected {golden.scores[row]:g}; train it again with `clipwise "
            "train`."
        )
