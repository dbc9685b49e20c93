"""Golden rows: model inputs with their scores in training, which the service must reproduce.

Reads the file that training writes, and compares its scores with those of a loaded ranker.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from feature_repo.names import GOLDEN_FILE, SCORE, RankerNames
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF, RANKER_INPUTS
from serving.errors import ModelError

# The trees sum to the same bits everywhere. The logarithm in the rule's margin does not: its last
# bit depends on the build of NumPy and on the processor.
TOLERANCE = 1e-6
"""Largest difference of a score, relative plus absolute."""


@dataclass(frozen=True)
class GoldenRows:
    """``inputs`` is float32 of shape ``(n, len(RANKER_INPUTS))``, ``scores`` has ``n`` values."""

    inputs: np.ndarray
    scores: np.ndarray


class Scorer(Protocol):
    """The part of a ranker that golden rows need."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def score(self, inputs: np.ndarray) -> np.ndarray: ...


def read_golden_rows(names: RankerNames, file: Path) -> GoldenRows:
    """Reads the Parquet file that training wrote for a version of a ranker.

    Inputs that the ranker does not read are NaN. Raises ValueError, KeyError or OSError.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    inputs = np.full((len(table), len(RANKER_INPUTS)), np.nan, dtype=np.float32)
    for column, name in enumerate(INPUTS_OF[names.key]):
        inputs[:, column] = table[name].to_numpy()
    return GoldenRows(inputs, table[SCORE].to_numpy())


def require_golden_scores(ranker: Scorer, golden: GoldenRows | None) -> GoldenRows:
    """Returns the golden rows if the ranker reproduces their scores within ``TOLERANCE``.

    Raises ModelError if a score differs, or if there are no rows.
    """
    if golden is None or not len(golden.scores):
        raise ModelError(
            f"{ranker.name} version {ranker.version} has no rows in the artifact {GOLDEN_FILE} of "
            "its run, so its scores cannot be checked; train it again with `clipwise train`."
        )
    scores = ranker.score(golden.inputs)
    agree = np.isclose(scores, golden.scores, rtol=TOLERANCE, atol=TOLERANCE)
    if not agree.all():
        row = int(np.argmin(agree))
        raise ModelError(
            f"{ranker.name} version {ranker.version} scores {int((~agree).sum())} of its "
            f"{len(agree)} golden rows differently than in training, for example row {row}: "
            f"{scores[row]:g}, expected {golden.scores[row]:g}; train it again with `clipwise "
            "train`."
        )
    return golden
