"""Ids that a program took for numbers: 900.0, and 4.01E+12."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_SCIENTIFIC = r"^[+-]?\d(\.\d+)?[eE]\+\d+$"
_FLOAT = r"^\d+\.0+$"


def whole_ids(column: "pa.ChunkedArray", name: str) -> "tuple[pa.ChunkedArray, bool]":
    """Removes the ``.0`` of ids that all have one, as a program adds it to whole numbers.

    Returns also whether it did. Raises ValueError for an id in scientific notation, whose last
    digits are lost.
    """
    import pyarrow.compute as pc

    plain = _decoded(column)
    if not _is_text(plain):
        return column, False
    lost = pc.index(pc.match_substring_regex(plain, _SCIENTIFIC), True).as_py()
    if lost >= 0:
        raise ValueError(
            f"{name} should be an id, got {plain[lost].as_py()!r} in row {lost + 1}: in scientific "
            "notation its last digits are lost. Export the column as text."
        )
    known = plain.drop_null()
    if not len(known) or not pc.all(pc.match_substring_regex(known, _FLOAT)).as_py():
        return column, False
    return pc.replace_substring_regex(plain, r"\.0+$", ""), True


def _decoded(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    import pyarrow as pa

    is_dictionary = pa.types.is_dictionary(column.type)
    return column.cast(column.type.value_type) if is_dictionary else column


def _is_text(column: "pa.ChunkedArray") -> bool:
    import pyarrow as pa

    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
