"""Checks without a row-level expectation in Great Expectations, computed with Arrow beforehand.

Each finding is a further column: null if the row passes, else a text with the fault. The suites
expect these columns to be null, so Data Docs show the findings too.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from feature_repo.contract import Parent, Table

if TYPE_CHECKING:
    import pyarrow as pa

ParentIds = Mapping[tuple[str, str], Collection[Any]]
"""Ids in the lake, by the table and column that other tables refer to."""

ROW = "_row"
CONFLICT = "conflicting rows"
CONTRADICTION = "contradiction"
PURCHASE_LACKS = "purchase lacks"
PURCHASE_NEEDS = ("product_id", "quantity", "amount")


def orphan_column(parent: Parent) -> str:
    """Returns the name of the finding with the ids that have no parent row."""
    return f"unknown {parent.column}"


def identity(table: Table) -> list[str]:
    """Returns the columns that identify one version of a row."""
    return list(dict.fromkeys((*table.key, "created_timestamp")))


def same_identity(table: Table, rows: "pa.Table") -> "pa.Table":
    """Returns the rows with the same identity as another row; a null is no identity."""
    import pyarrow.compute as pc

    groups = rows.group_by(identity(table)).aggregate([(ROW, "count")])
    if groups.num_rows == rows.num_rows:
        return rows.slice(0, 0)
    shared = groups.filter(pc.greater(groups[f"{ROW}_count"], 1)).select(identity(table))
    return rows.join(shared, keys=identity(table), join_type="left semi")


def first_copies(table: Table, rows: "pa.Table") -> "pa.Table":
    """Returns the distinct contents of the rows, each with its first row number."""
    content = rows.group_by(list(table.column_names)).aggregate([(ROW, "min")])
    return content.rename_columns({f"{ROW}_min": ROW})


def without_copies(table: Table, rows: "pa.Table") -> "tuple[pa.Table, pa.Table]":
    """Removes later exact copies, and finds the remaining rows that conflict with each other.

    The second table has the columns ``_row`` and ``conflicting rows``: a text with the numbers of
    all rows with the same identity and different content.
    """
    import pyarrow.compute as pc

    shared = same_identity(table, rows)
    firsts = first_copies(table, shared)
    is_copy = pc.and_(
        pc.is_in(rows[ROW], value_set=shared[ROW]),
        pc.invert(pc.is_in(rows[ROW], value_set=firsts[ROW])),
    )
    return rows.filter(pc.invert(is_copy)), _conflicts(table, firsts)


def _conflicts(table: Table, firsts: "pa.Table") -> "pa.Table":
    import pyarrow as pa

    groups = firsts.group_by(identity(table)).aggregate([(ROW, "list")])
    together = [sorted(group) for group in groups[f"{ROW}_list"].to_pylist() if len(group) > 1]
    texts = [_listed(group) for group in together for _ in group]
    numbers = [number for group in together for number in group]
    return pa.table({ROW: pa.array(numbers, pa.int64()), CONFLICT: pa.array(texts, pa.string())})


def _listed(numbers: list[int], most: int = 5) -> str:
    shown = ", ".join(str(number) for number in numbers[:most])
    return shown if len(numbers) <= most else f"{shown} and {len(numbers) - most} more"


def with_findings(
    table: Table, rows: "pa.Table", conflicts: "pa.Table", known: "Mapping[Parent, pa.Array]"
) -> "pa.Table":
    """Adds a column for each finding to the rows; ``known`` has the existing ids of each parent."""
    import pyarrow.compute as pc

    position = pc.index_in(rows[ROW], value_set=conflicts[ROW])
    found = rows.append_column(CONFLICT, conflicts[CONFLICT].take(position))
    for parent in table.parents:
        found = found.append_column(
            orphan_column(parent), _orphans(rows[parent.column], known[parent])
        )
    if table.name == "events":
        found = found.append_column(PURCHASE_LACKS, _purchase_lacks(rows))
    if can_contradict(table):
        found = found.append_column(CONTRADICTION, _contradictions(table, rows))
    return found


def can_contradict(table: Table) -> bool:
    """True if columns of one row of the table can contradict each other."""
    return bool(table.together) or table.name == "coupons"


def _contradictions(table: Table, rows: "pa.Table") -> "pa.Array":
    """Lists the contradictions within each row, joined by "; "; null if there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    faults = {
        f"{one} and {other} must be stated together": pc.xor(
            pc.is_null(rows[one]), pc.is_null(rows[other])
        )
        for one, other in table.together
    }
    if table.name == "coupons":
        faults |= _discount_contradictions(rows)
    texts = [
        pc.if_else(pc.fill_null(wrong, False), pa.scalar(f"{text}; "), pa.scalar(""))
        for text, wrong in faults.items()
    ]
    joined = pc.utf8_rtrim(pc.binary_join_element_wise(*texts, ""), characters="; ")
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), joined)


def _discount_contradictions(rows: "pa.Table") -> "dict[str, pa.Array]":
    import pyarrow.compute as pc

    kind = rows["discount_type"]
    return {
        "a percent discount must be at most 100": pc.and_(
            pc.equal(kind, "percent"), pc.greater(rows["discount_value"], 100)
        ),
        "amount_off_over_threshold must have a min_spend": pc.and_(
            pc.equal(kind, "amount_off_over_threshold"), pc.is_null(rows["min_spend"])
        ),
    }


def _orphans(ids: "pa.ChunkedArray", known: "pa.Array") -> "pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.is_in(ids, value_set=known), pa.scalar(None, pa.string()), ids)


def _purchase_lacks(rows: "pa.Table") -> "pa.Array":
    """Lists the required columns of a purchase that are null, joined by commas."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [
        pc.if_else(pc.is_null(rows[column]), pa.scalar(f"{column}, "), pa.scalar(""))
        for column in PURCHASE_NEEDS
    ]
    lacks = pc.utf8_rtrim(pc.binary_join_element_wise(*names, ""), characters=", ")
    wrong = pc.and_(pc.equal(rows["event_type"], "purchase"), pc.not_equal(lacks, ""))
    return pc.if_else(pc.fill_null(wrong, False), lacks, pa.scalar(None, pa.string()))


def known_ids(landed: Collection[Any] | None, passed: "pa.ChunkedArray | None") -> "pa.Array":
    """Returns the ids in the lake and those that passed in this batch, as one Arrow array."""
    import pyarrow as pa

    parts = [] if landed is None else [_as_strings(landed)]
    parts += [] if passed is None else [_as_strings(passed)]
    return pa.concat_arrays(parts) if parts else pa.array([], pa.string())


def _as_strings(ids: Collection[Any]) -> "pa.Array":
    import pyarrow as pa

    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    return ids.cast(pa.string()) if isinstance(ids, pa.Array) else pa.array(list(ids), pa.string())
