"""Decisions as Parquet files: each whole or not there, and safe on the disk once it is."""

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from feature_repo.instants import from_microseconds
from serving.decisions.record import Decision

_NAMES_AT_ONCE = 10_000
"""Names of candidates that become Arrow's in one go, which takes two milliseconds."""


def sync_folder(folder: Path) -> None:
    """Make the new name in a folder outlive a loss of power. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_decisions(
    folder: Path,
    decisions: Sequence[Decision],
    sync: Callable[[Path], None] = sync_folder,
) -> Path:
    """Write one Parquet file, named after the instant of its first decision.

    Readers see the whole file or none of it, also after the machine lost its power. The names of
    several processes never meet. Raises OSError; then there is no such file.
    """
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    instant = from_microseconds(decisions[0].event_timestamp)
    path = folder / f"{instant:%Y%m%dT%H%M%S}-{os.getpid()}-{uuid.uuid4().hex}.parquet"
    temporary = path.with_suffix(".tmp")
    try:
        with _held(temporary) as file:
            table = _table(decisions)
            pq.write_table(table, file, compression="zstd", use_dictionary=_repeated(table.schema))
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    try:
        sync(folder)
    except OSError:
        # Who is told that it failed writes the decisions again.
        path.unlink(missing_ok=True)
        raise
    return path


def remove_leftovers(folder: Path) -> int:
    """Remove what processes left that ended while they wrote, and say how many files it was.

    A file that a process still writes is locked, and stays. Raises OSError.
    """
    removed = 0
    for path in folder.glob("*.tmp"):
        # Another process may have finished or removed it meanwhile, or still write it.
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed += 1
    return removed


def remove_older(folder: Path, instant: float) -> int:
    """Remove the files that were written before an instant, in seconds since the epoch.

    Gives how many they were. Raises OSError.
    """
    removed = 0
    for path in folder.glob("*.parquet"):
        # Another process may have removed it meanwhile.
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < instant:
                path.unlink()
                removed += 1
    return removed


@contextmanager
def _held(path: Path) -> Iterator[BinaryIO]:
    """A new file that is locked until the block ends, so that nobody takes it for a leftover."""
    while True:
        with path.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Between the two lines above, another process may have removed it as a leftover.
            if os.fstat(file.fileno()).st_nlink:
                yield file
                return


def _table(decisions: Sequence[Decision]):
    import pyarrow as pa

    return pa.concat_tables([_piece(some) for some in _few_at_once(decisions)])


def _few_at_once(decisions: Sequence[Decision]) -> Iterator[Sequence[Decision]]:
    """The decisions in runs of few names each: no request can run while a run is turned over."""
    first, names = 0, 0
    for place, decision in enumerate(decisions):
        names += len(decision.candidate_ids)
        if names >= _NAMES_AT_ONCE:
            yield decisions[first : place + 1]
            first, names = place + 1, 0
    if first < len(decisions):
        yield decisions[first:]


def _piece(decisions: Sequence[Decision]):
    import pyarrow as pa

    schema = decision_schema()
    columns = [
        _column([getattr(decision, field.name) for decision in decisions], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _repeated(schema) -> list[str]:
    """Paths of the values that come again and again: all but numbers, which hardly ever do.

    Looking for those that do takes longer than all else in a file.
    """
    import pyarrow as pa

    lists = [field for field in schema if pa.types.is_list(field.type)]
    kinds = {field.name: field.type for field in schema}
    kinds |= {f"{field.name}.list.element": field.type.value_type for field in lists}
    return [path for path, kind in kinds.items() if pa.types.is_string(kind)]


def _column(values: Sequence, kind):
    """Values as an Arrow array; lists go over whole, since their items are many."""
    import pyarrow as pa

    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    items, of = [np.asarray(value, _numpy(kind)) for value in values], kind.value_type
    every = np.concatenate(items)
    if pa.types.is_list(of):
        inner = _ends(np.full(len(every), every.shape[1]))
        found = pa.ListArray.from_arrays(inner, pa.array(every.ravel(), of.value_type))
    else:
        found = pa.array(every, of)
    return pa.ListArray.from_arrays(_ends([len(one) for one in items]), found)


def _numpy(kind) -> type:
    """What items of a list of a kind are in NumPy."""
    import pyarrow as pa

    of = kind.value_type
    return object if pa.types.is_string(of) else np.float32 if pa.types.is_list(of) else np.float64


def _ends(sizes: Sequence[int]) -> np.ndarray:
    """Where lists of such sizes begin and end."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)


def decision_schema():
    """The Arrow schema of a decision file."""
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
    }
    return pa.schema(list(types.items()))
