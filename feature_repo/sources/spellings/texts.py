"""Columns of text, whatever their layout in Arrow."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def as_text(column: "pa.ChunkedArray") -> "pa.ChunkedArray | None":
    """Returns a column of text without its dictionary; None for a column of another type."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return column if is_text else None
