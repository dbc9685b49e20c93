"""Rows for an online store: keys, values and instants as Feast stores them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import numpy as np
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key, serialize_f32
from feast.infra.online_stores.helpers import extract_text_and_num
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig
from feast.type_map import feast_value_type_to_python_type
from feast.types import FEAST_VECTOR_TYPES
from feast.utils import make_tzaware

from feature_repo.feast_internals import check_vectors, vector_length
from feature_repo.instants import microseconds
from feature_repo.online.format.encoding import column_microseconds, encode_values, texts
from feature_repo.online.format.entity_keys import encode_keys

FeastRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
"""A row that Feast writes: entity key, values by feature, event time, created time."""

UNKNOWN = int(np.iinfo(np.int64).min)
"""Value in place of an unset instant."""

_VECTOR_LENGTH = 512
"""Feast's own default for a vector without a stated length."""


@dataclass(frozen=True)
class OnlineRows:
    """``n`` rows of a view: ``n`` byte strings for the keys and for the values of each feature.

    ``texts`` are kept beside the values by SQLite. ``event`` and ``created`` are ``n`` int64
    microseconds since 1970, UTC. An unset ``created`` is UNKNOWN and counts as the event's instant.
    """

    keys: list[bytes]
    values: dict[str, Sequence[bytes]]
    texts: dict[str, list[str | None]]
    event: np.ndarray
    created: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def learned(self) -> np.ndarray:
        """Instant at which each row was learned: ``created`` if it is set, else ``event``."""
        return np.where(self.created == UNKNOWN, self.event, self.created)


def source_of(view: FeatureView) -> DataSource:
    """Returns the source of a view; Feast writes no rows of a view without one."""
    return cast(DataSource, view.batch_source)


def rows_of_table(
    config: RepoConfig, view: FeatureView, table: pa.RecordBatch, with_texts: bool
) -> OnlineRows:
    """Encodes an Arrow batch with the view's join keys, features and timestamps.

    Raises ValueError for a column that is missing or does not fit its type in the view.
    """
    check_vectors(table, view)
    source = source_of(view)
    types = {field.name: field.dtype.to_value_type() for field in view.features}
    columns = {name: _column(table, name, view) for name in types}
    event = column_microseconds(_column(table, source.timestamp_field, view))
    if len(event) and event.min() == UNKNOWN:
        raise ValueError(
            f"Expected {source.timestamp_field} in every row of {view.name}, but a row has none; "
            "add it or leave the row out."
        )
    learned = source.created_timestamp_column
    return OnlineRows(
        keys=keys_of_table(config, view, table),
        values={name: encode_values(columns[name], kind) for name, kind in types.items()},
        texts={name: texts(columns[name], kind) for name, kind in types.items() if with_texts},
        event=event,
        created=(
            column_microseconds(_column(table, learned, view))
            if learned
            else np.full(len(event), UNKNOWN, np.int64)
        ),
    )


def keys_of_table(config: RepoConfig, view: FeatureView, table: pa.RecordBatch) -> list[bytes]:
    """Returns the serialized entity key of every row."""
    types = {column.name: column.dtype.to_value_type() for column in view.entity_columns}
    columns = {name: _column(table, name, view) for name in types}
    return encode_keys(columns, types, config.entity_key_serialization_version)


def rows_of_protos(config: RepoConfig, data: Sequence[FeastRow]) -> Iterator[OnlineRows]:
    """Encodes Feast's (entity key, values, event time, created time), grouped by features."""
    groups: dict[tuple[str, ...], list[FeastRow]] = {}
    for row in data:
        groups.setdefault(tuple(row[1]), []).append(row)
    for names, rows in groups.items():
        keys, values, event, created = zip(*rows, strict=True)
        columns = {name: [one[name] for one in values] for name in names}
        yield OnlineRows(
            keys=[
                serialize_entity_key(key, config.entity_key_serialization_version) for key in keys
            ],
            values={n: [value.SerializeToString() for value in c] for n, c in columns.items()},
            texts={n: [extract_text_and_num(v, False)[0] for v in c] for n, c in columns.items()},
            event=_instants(event),
            created=_instants(created),
        )


def value_numbers(rows: OnlineRows) -> dict[str, list[float | None]]:
    """Returns the numbers that Feast's SQLite store can keep beside values, for filters."""
    return {
        name: [extract_text_and_num(Value.FromString(value), True)[1] for value in values]
        for name, values in rows.values.items()
    }


def value_vectors(view: FeatureView, rows: OnlineRows) -> dict[str, list[Any]]:
    """Returns the vectors that Feast's SQLite store can keep beside values, for searches."""
    vectors = {field.name for field in view.features if field.dtype in FEAST_VECTOR_TYPES}
    length = vector_length(view, _VECTOR_LENGTH)

    def plain(name: str, value: Value) -> Any:
        if name in vectors:
            return serialize_f32(value.float_list_val.val, length)
        return feast_value_type_to_python_type(value)

    return {
        name: [plain(name, Value.FromString(value)) for value in values]
        for name, values in rows.values.items()
    }


def _column(table: pa.RecordBatch, name: str, view: FeatureView) -> pa.Array:
    if name not in table.schema.names:
        raise ValueError(
            f"The view {view.name} needs the column {name}, but its rows have "
            f"{', '.join(table.schema.names)}."
        )
    return table.column(name)


def _instants(moments: Sequence[datetime | None]) -> np.ndarray:
    """Returns int64 microseconds since 1970; a naive datetime is UTC, None is UNKNOWN."""
    return np.array(
        [UNKNOWN if at is None else microseconds(make_tzaware(at)) for at in moments], np.int64
    )
