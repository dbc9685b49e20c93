"""Tables of predictions: one row for each ranker, model and pair, to compute all metrics again."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.data.frame import RankingFrame

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

IDS = ("qid", "user_id", "campaign_id", "coupon_id")

READ_BACK = ("qid", "coupon_id", "model", "score")
"""The columns that ``scores_of`` reads."""

ROWS_AT_ONCE = 1_000_000
"""Rows that a writer collects before it writes them as one row group."""


def predictions_table(
    ranker: str, frame: RankingFrame, scores: Mapping[str, np.ndarray]
) -> "pa.Table":
    """Builds a table with one row for each model and pair.

    Columns: ``ranker, qid, user_id, campaign_id, coupon_id, as_of, model, score, label, later``.
    ``ranker`` is a key of ``RANKERS``. ``label`` is 1 for a redemption at the visit, ``later`` for
    one at the visit or later.
    """
    import pyarrow as pa

    columns = {
        "ranker": pa.repeat(pa.scalar(ranker), len(frame)),
        **{name: pa.array(getattr(frame, name), pa.string()) for name in IDS},
        "as_of": pa.array(frame.as_of).cast(pa.timestamp("us", "UTC")),
        "label": pa.array(frame.label.astype(np.int64)),
        "later": pa.array(frame.later.astype(np.int64)),
    }
    of_pairs = pa.table(columns)
    models = [
        of_pairs.append_column("model", pa.repeat(pa.scalar(name), len(frame))).append_column(
            "score", pa.array(np.asarray(score, np.float64))
        )
        for name, score in scores.items()
    ]
    order = ("ranker", *IDS, "as_of", "model", "score", "label", "later")
    return pa.concat_tables(models).select(order)


def scores_of(table: "pa.Table", frame: RankingFrame) -> dict[str, np.ndarray]:
    """Reads the scores by model from the columns ``READ_BACK`` of a ``predictions_table``.

    A model that was scored on other pairs than those of ``frame`` is left out.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    pairs = [pa.chunked_array([pa.array(ids, pa.string())]) for ids in (frame.qid, frame.coupon_id)]
    found = {}
    for model in table["model"].unique().to_pylist():
        own = table.filter(pc.equal(table["model"], model))
        if [own["qid"], own["coupon_id"]] == pairs:
            found[model] = own["score"].to_numpy()
    return found


class PredictionsFile:
    """A Parquet file of predictions that grows block by block.

    It replaces ``file`` when the ``with`` block ends without an error; without any row there is no
    file. The columns are those of ``predictions_table``, after the column ``fold``. At most
    ``rows_at_once`` rows and one block are in memory.
    """

    def __init__(self, file: Path, rows_at_once: int = ROWS_AT_ONCE) -> None:
        self._file, self._rows_at_once = file, rows_at_once
        self._part = file.with_name(f"{file.name}.part")
        self._waiting: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "PredictionsFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            if self._writer is not None:
                self._writer.close()
        if kind is not None:
            self._part.unlink(missing_ok=True)
        elif self._writer is not None:
            self._part.replace(self._file)
        else:
            self._file.unlink(missing_ok=True)

    def write(
        self,
        ranker: str,
        frame: RankingFrame,
        scores: Mapping[str, np.ndarray],
        folds: Mapping[str, int],
    ) -> None:
        """Adds the pairs of ``frame`` for every model.

        ``scores`` maps models to one score for each pair. ``folds`` maps them to the start of the
        period whose model gave the scores, in int64 microseconds.
        """
        import pyarrow as pa

        if len(frame) == 0 or not scores:
            return
        of_models = np.repeat([folds[name] for name in scores], len(frame)).astype(np.int64)
        fold = pa.array(of_models).cast(pa.timestamp("us", "UTC"))
        self._waiting.append(predictions_table(ranker, frame, scores).add_column(0, "fold", fold))
        if sum(map(len, self._waiting)) >= self._rows_at_once:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._part, table.schema, compression="zstd")
        self._writer.write_table(table)
        self._waiting.clear()
