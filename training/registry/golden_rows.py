"""Golden rows: model inputs with their scores in training, which the service must reproduce."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from feature_repo.names import SCORE
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS

ROWS = 64
"""Most input rows in the file, without the row of NaN."""


def write_golden_rows(
    score: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, file: Path
) -> Path:
    """Writes at most ``ROWS`` evenly spread input rows and one row of NaN, with their scores."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sample = np.unique(np.linspace(0, len(inputs) - 1, min(ROWS, len(inputs)), dtype=int))
    unknown = np.full((1, len(RANKER_INPUTS)), np.nan)
    rows = np.concatenate([inputs[sample], unknown]).astype(np.float32)
    columns = dict(zip(RANKER_INPUTS, rows.T, strict=True)) | {SCORE: score(rows)}
    pq.write_table(pa.table(columns), file)
    return file
