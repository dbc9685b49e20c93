"""Words for null: NA of R, NULL of SQL consoles, nan and None of pandas, and others."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from feature_repo.sources.spellings.texts import as_text

if TYPE_CHECKING:
    import pyarrow as pa

WORDS = (
    "NA", "N/A", "n/a", "na", "#N/A", "<NA>", "NULL", "Null", "null", "(null)", "[NULL]", "NIL",
    "nil", "None", "NONE", "none", "NaN", "nan", "NAN", "NaT", "\\N", "-", "--",
)  # fmt: skip
"""Words for null in texts and ids, unless the mapping states others."""


def without_words(
    rows: "pa.Table", columns: Iterable[str], words: Collection[str]
) -> "tuple[pa.Table, list[str]]":
    """Replaces words for null, and texts of blanks alone, by null in the columns that hold text.

    Returns the rows, and a note for each column with such words and the number of rows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted, notes = pa.array(["", *words], pa.string()), []
    for name in columns:
        column = as_text(rows[name])
        if column is None:
            continue
        trimmed = pc.utf8_trim_whitespace(column)
        is_word = pc.is_in(trimmed, value_set=wanted.cast(column.type))
        found = pc.unique(trimmed.filter(is_word)).to_pylist()
        if found:
            cleaned = pc.if_else(is_word, pa.scalar(None, column.type), column)
            rows = rows.set_column(rows.schema.get_field_index(name), name, cleaned)
            shown = ", ".join(one or "blanks" for one in found)
            notes.append(f"{name}: {shown} in {pc.sum(is_word).as_py():,} rows read as null")
    return rows, notes
