"""Golden rows: what a version scored some pairs, for a service to check that it does the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from feature_repo.names import SCORE
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS

ROWS = 64


def write_golden(score: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, file: Path) -> Path:
    """Write at most ``ROWS`` of the input rows, evenly spread, and one of unknowns, with scores."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    some = np.unique(np.linspace(0, len(inputs) - 1, min(ROWS, len(inputs)), dtype=int))
    unknown = np.full((1, len(RANKER_INPUTS)), np.nan)
    rows = np.concatenate([inputs[some], unknown]).astype(np.float32)
    columns = dict(zip(RANKER_INPUTS, rows.T, strict=True)) | {SCORE: score(rows)}
    pq.write_table(pa.table(columns), file)
    return file
