"""Rows on their way into an online store: keys, values and instants as Feast stores them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key, serialize_f32
from feast.infra.online_stores.helpers import extract_text_and_num
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig
from feast.type_map import feast_value_type_to_python_type
from feast.types import FEAST_VECTOR_TYPES
from feast.utils import (
    _get_feature_view_vector_field_metadata,
    _validate_vector_field_lengths,
    make_tzaware,
)

from feature_repo.online.format.encoding import encode_keys, encode_values, instants, texts

UNKNOWN = np.iinfo(np.int64).min
"""In place of an instant that was not given."""


@dataclass(frozen=True)
class OnlineRows:
    """``n`` rows of a view: a list of ``n`` bytes for the keys and for the values of each feature.

    ``texts`` are what SQLite keeps beside the values. ``event`` and ``created`` are ``n`` int64
    microseconds since 1970, UTC; ``created`` is UNKNOWN where it was not given, which counts as
    the event's own instant.
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
        """When each row was learned: as it was given, else when it happened."""
        return np.where(self.created == UNKNOWN, self.event, self.created)


def rows_of_table(
    config: RepoConfig, view: FeatureView, table: pa.RecordBatch, with_texts: bool
) -> OnlineRows:
    """The rows of an Arrow batch that has the view's join keys, features and timestamps.

    Raises ValueError for a column that is missing or cannot be what the view says it is.
    """
    _validate_vector_field_lengths(table, view)
    types = {field.name: field.dtype.to_value_type() for field in view.features}
    columns = {name: _column(table, name, view) for name in types}
    event = instants(_column(table, view.batch_source.timestamp_field, view))
    if len(event) and event.min() == UNKNOWN:
        raise ValueError(f"A row of {view.name} has no {view.batch_source.timestamp_field}.")
    learned = view.batch_source.created_timestamp_column
    return OnlineRows(
        keys=keys_of_table(config, view, table),
        values={name: encode_values(columns[name], kind) for name, kind in types.items()},
        texts={name: texts(columns[name], kind) for name, kind in types.items() if with_texts},
        event=event,
        created=instants(_column(table, learned, view)) if learned else _unknown(len(event)),
    )


def keys_of_table(config: RepoConfig, view: FeatureView, table: pa.RecordBatch) -> list[bytes]:
    """The serialized entity key of every row."""
    types = {column.name: column.dtype.to_value_type() for column in view.entity_columns}
    columns = {name: _column(table, name, view) for name in types}
    return encode_keys(columns, types, config.entity_key_serialization_version)


def rows_of_protos(config: RepoConfig, data: Sequence[tuple]) -> Iterator[OnlineRows]:
    """The rows of Feast's (entity key, values, event time, created time), by their features."""
    groups: dict[tuple, list] = {}
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
            event=microseconds(event),
            created=microseconds(created),
        )


def value_numbers(rows: OnlineRows) -> dict[str, list[float | None]]:
    """What Feast's SQLite store can keep beside numeric values, to filter by."""
    return {
        name: [extract_text_and_num(Value.FromString(value), True)[1] for value in values]
        for name, values in rows.values.items()
    }


def value_vectors(view: FeatureView, rows: OnlineRows) -> dict[str, list]:
    """What Feast's SQLite store can keep beside values, to search by."""
    vectors = {field.name for field in view.features if field.dtype in FEAST_VECTOR_TYPES}
    length = getattr(_get_feature_view_vector_field_metadata(view), "vector_length", 512)

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


def microseconds(moments: Sequence[datetime | None]) -> np.ndarray:
    """Instants as int64 microseconds since 1970, UTC; one without a zone is UTC, None UNKNOWN."""
    aware = [None if at is None else make_tzaware(at) for at in moments]
    return instants(pa.array(aware, pa.timestamp("us", "UTC")))


def _unknown(count: int) -> np.ndarray:
    return np.full(count, UNKNOWN, np.int64)
