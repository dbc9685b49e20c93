"""Golden rows: model inputs with their scores in training, which the service must reproduce."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from feature_repo.names import SCORE, RankerNames
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF

ROWS = 64
"""Most input rows in the file, without the row of NaN."""


def write_golden_rows(
    names: RankerNames, score: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, file: Path
) -> Path:
    """Writes at most ``ROWS`` evenly spread input rows and one row of NaN, with their scores.

    The file has the inputs that the ranker reads. The others are NaN when the rows are scored.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sample = np.unique(np.linspace(0, len(inputs) - 1, min(ROWS, len(inputs)), dtype=int))
    read = INPUTS_OF[names.key]
    rows = np.full((len(sample) + 1, inputs.shape[1]), np.nan, dtype=np.float32)
    rows[:-1, : len(read)] = inputs[sample, : len(read)]
    columns = dict(zip(read, rows.T, strict=False)) | {SCORE: score(rows)}
    pq.write_table(pa.table(columns), file)
    return file
