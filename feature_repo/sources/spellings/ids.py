"""Ids that a program took for numbers: 900.0, and 4.01E+12."""

from typing import TYPE_CHECKING

from feature_repo.sources.spellings.texts import as_text

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

    plain = as_text(column)
    if plain is None:
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
