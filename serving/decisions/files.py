"""Decisions as Parquet files: each appears whole or not at all, and survives a power loss."""

import fcntl
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from feature_repo.files import locked, sync
from feature_repo.instants import from_microseconds
from serving.decisions.record import Decision

if TYPE_CHECKING:
    import pyarrow as pa

NAMES_PER_BATCH = 10_000
"""Names of candidates and cart lines converted to Arrow at once; takes about two milliseconds."""


def write_decisions(
    folder: Path,
    decisions: Sequence[Decision],
    make_durable: Callable[[Iterable[Path]], None] = sync,
    names_per_batch: int = NAMES_PER_BATCH,
) -> Path:
    """Writes one Parquet file, named after the instant of its first decision.

    Readers see the whole file or none, also after a power loss. File names of different processes
    never collide. Raises OSError; then the file does not exist.
    """
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    instant = from_microseconds(decisions[0].event_timestamp)
    path = folder / f"{instant:%Y%m%dT%H%M%S}-{os.getpid()}-{uuid.uuid4().hex}.parquet"
    temporary = path.with_suffix(".tmp")
    try:
        with _new_locked_file(temporary) as file:
            table = _table(decisions, names_per_batch)
            columns = _dictionary_columns(table.schema)
            pq.write_table(table, file, compression="zstd", use_dictionary=columns)
            file.flush()
            # Before the new name exists, so that a power loss leaves no file without content.
            os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    try:
        make_durable([path])
    except OSError:
        # The caller writes the decisions again after an error.
        path.unlink(missing_ok=True)
        raise
    return path


def remove_leftovers(folder: Path) -> int:
    """Removes temporary files of crashed processes; returns their number. Raises OSError.

    A file that a process is still writing is locked, and stays.
    """
    removed = 0
    for path in folder.glob("*.tmp"):
        # Another process may have renamed or removed the file, or may be writing it. Not by
        # ``locked``, which would create a missing file again.
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed += 1
    return removed


def remove_older(folder: Path, instant: float) -> int:
    """Removes files written before an instant, in seconds since the epoch; returns their number.

    Raises OSError.
    """
    removed = 0
    for path in folder.glob("*.parquet"):
        # Another process may have removed the file meanwhile.
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < instant:
                path.unlink()
                removed += 1
    return removed


@contextmanager
def _new_locked_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a new file, locked until the block ends, so that it is not removed as a leftover."""
    while True:
        with locked(path) as descriptor:
            # Between creation and lock, another process may have removed the file as a leftover.
            if os.fstat(descriptor).st_nlink:
                with os.fdopen(descriptor, "wb", closefd=False) as file:
                    yield file
                return


def batches(decisions: Sequence[Decision], names: int) -> Iterator[Sequence[Decision]]:
    """Splits decisions into runs that end at the decision with which ``names`` is reached.

    ``names`` counts candidate ids and cart lines. Converting a batch holds the GIL, so a long batch
    blocks all requests.
    """
    start, count = 0, 0
    for place, decision in enumerate(decisions):
        count += len(decision.candidate_ids) + len(decision.cart_product_ids)
        if count >= names:
            yield decisions[start : place + 1]
            start, count = place + 1, 0
    if start < len(decisions):
        yield decisions[start:]


def _table(decisions: Sequence[Decision], names_per_batch: int) -> "pa.Table":
    import pyarrow as pa

    return pa.concat_tables(map(_batch_table, batches(decisions, names_per_batch)))


def _batch_table(decisions: Sequence[Decision]) -> "pa.Table":
    import pyarrow as pa

    schema = decision_schema()
    columns = [
        _arrow_array([getattr(decision, field.name) for decision in decisions], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _dictionary_columns(schema: "pa.Schema") -> list[str]:
    """Returns the Parquet paths of text columns, whose values repeat.

    Numbers hardly repeat, and building their dictionaries takes longer than the rest of a file.
    """
    import pyarrow as pa

    lists = [field for field in schema if pa.types.is_list(field.type)]
    types = {field.name: field.type for field in schema}
    types |= {f"{field.name}.list.element": field.type.value_type for field in lists}
    return [path for path, one in types.items() if pa.types.is_string(one)]


def _arrow_array(values: Sequence[object], kind: "pa.DataType") -> "pa.Array":
    """Converts the values of a column; the items of all lists are converted at once, for speed."""
    import pyarrow as pa

    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    item_type = kind.value_type
    items: list[np.ndarray] = [np.asarray(value, _numpy_type(item_type)) for value in values]
    flat = np.concatenate(items)
    if pa.types.is_list(item_type):
        inner = _offsets([flat.shape[1]] * len(flat))
        found = pa.ListArray.from_arrays(inner, pa.array(flat.ravel(), item_type.value_type))
    else:
        found = pa.array(flat, item_type)
    return pa.ListArray.from_arrays(_offsets([len(one) for one in items]), found)


def _numpy_type(item_type: "pa.DataType") -> type:
    """Returns the NumPy type for items of a list: text, vectors of float32, or float64."""
    import pyarrow as pa

    if pa.types.is_string(item_type):
        return object
    return np.float32 if pa.types.is_list(item_type) else np.float64


def _offsets(sizes: Sequence[int]) -> np.ndarray:
    """Returns Arrow's offsets of lists with these sizes: int32, one more than lists.

    >>> _offsets([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)


def decision_schema() -> "pa.Schema":
    """Returns the Arrow schema of a decision file."""
    import pyarrow as pa

    text, texts, reals = pa.string(), pa.list_(pa.string()), pa.list_(pa.float64())
    instant = pa.timestamp("us", tz="UTC")
    types = {
        "request_id": text,
        "event_timestamp": instant,
        "user_id": text,
        "placement": text,
        "candidate_ids": texts,
        "coupon_ids": texts,
        "features": pa.list_(pa.list_(pa.float32())),
        "scores": reals,
        "propensities": reals,
        "model_name": text,
        "model_version": text,
        "feature_service": text,
        "removed": text,
        "cold_start": pa.bool_(),
        "stale_features": texts,
        "policy": text,
        "role": text,
        "arm": text,
        "online_watermark": instant,
        "cart_product_ids": texts,
        "cart_quantities": reals,
        "cart_unit_prices": reals,
    }
    return pa.schema(list(types.items()))
