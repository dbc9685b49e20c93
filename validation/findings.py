"""What Great Expectations has no row-level expectation for, found with Arrow beforehand.

Each finding becomes a column beside the contract's own: null where the row is fine, else what is
wrong with it. The suites expect these columns to be null, so that Data Docs show them too.
"""

from collections.abc import Collection, Mapping

from feature_repo.contract import Parent, Table

ROW = "_row"
CONFLICT = "conflicting rows"
CONTRADICTION = "contradiction"
PURCHASE_LACKS = "purchase lacks"
PURCHASE_NEEDS = ("product_id", "quantity", "amount")


def unknown(parent: Parent) -> str:
    """The name of the finding that holds the ids without a parent."""
    return f"unknown {parent.column}"


def identity(table: Table) -> list[str]:
    """The columns that tell one version of a row from all others."""
    return list(dict.fromkeys((*table.key, "created_timestamp")))


def same_identity(table: Table, rows):
    """The rows that share their identity with another; a row with a null in it has none."""
    import pyarrow.compute as pc

    groups = rows.group_by(identity(table)).aggregate([(ROW, "count")])
    if groups.num_rows == rows.num_rows:
        return rows.slice(0, 0)
    shared = groups.filter(pc.greater(groups[f"{ROW}_count"], 1)).select(identity(table))
    return rows.join(shared, keys=identity(table), join_type="left semi")


def first_copies(table: Table, rows):
    """The distinct contents among rows of shared identity, each by its first row number."""
    content = rows.group_by(list(table.column_names)).aggregate([(ROW, "min")])
    return content.rename_columns({f"{ROW}_min": ROW})


def without_copies(table: Table, rows):
    """The rows without later exact copies, and of them those that contradict each other.

    The second table has the columns ``_row`` and ``conflicting rows``: a text with the numbers of
    all rows that share an identity and differ in content.
    """
    import pyarrow.compute as pc

    shared = same_identity(table, rows)
    firsts = first_copies(table, shared)
    is_copy = pc.and_(
        pc.is_in(rows[ROW], value_set=shared[ROW]),
        pc.invert(pc.is_in(rows[ROW], value_set=firsts[ROW])),
    )
    return rows.filter(pc.invert(is_copy)), _conflicts(table, firsts)


def _conflicts(table: Table, firsts):
    import pyarrow as pa

    groups = firsts.group_by(identity(table)).aggregate([(ROW, "list")])
    together = [sorted(group) for group in groups[f"{ROW}_list"].to_pylist() if len(group) > 1]
    texts = [_listed(group) for group in together for _ in group]
    numbers = [number for group in together for number in group]
    return pa.table({ROW: pa.array(numbers, pa.int64()), CONFLICT: pa.array(texts, pa.string())})


def _listed(numbers: list[int], most: int = 5) -> str:
    shown = ", ".join(str(number) for number in numbers[:most])
    return shown if len(numbers) <= most else f"{shown} and {len(numbers) - most} more"


def with_findings(table: Table, rows, conflicts, known: Mapping[Parent, object]):
    """The rows with one column a finding; ``known`` holds the ids that each parent may have."""
    import pyarrow.compute as pc

    position = pc.index_in(rows[ROW], value_set=conflicts[ROW])
    found = rows.append_column(CONFLICT, conflicts[CONFLICT].take(position))
    for parent in table.parents:
        found = found.append_column(
            unknown(parent), _unknown_ids(rows[parent.column], known[parent])
        )
    if table.name == "events":
        found = found.append_column(PURCHASE_LACKS, _purchase_lacks(rows))
    if may_contradict(table):
        found = found.append_column(CONTRADICTION, _contradictions(table, rows))
    return found


def may_contradict(table: Table) -> bool:
    """Whether the columns of one row of the table can contradict each other."""
    return bool(table.together) or table.name == "coupons"


def _contradictions(table: Table, rows):
    """What about a row contradicts itself, joined by "; "."""
    import pyarrow as pa
    import pyarrow.compute as pc

    claims = {
        f"{one} and {other} must be stated together": pc.xor(
            pc.is_null(rows[one]), pc.is_null(rows[other])
        )
        for one, other in table.together
    }
    if table.name == "coupons":
        claims |= _discount_contradictions(rows)
    texts = [
        pc.if_else(pc.fill_null(wrong, False), pa.scalar(f"{text}; "), pa.scalar(""))
        for text, wrong in claims.items()
    ]
    joined = pc.utf8_rtrim(pc.binary_join_element_wise(*texts, ""), characters="; ")
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), joined)


def _discount_contradictions(rows) -> dict:
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


def _unknown_ids(ids, known):
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.is_in(ids, value_set=known), pa.scalar(None, pa.string()), ids)


def _purchase_lacks(rows):
    """The names of the columns that a purchase needs and that are null, joined by commas."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [
        pc.if_else(pc.is_null(rows[column]), pa.scalar(f"{column}, "), pa.scalar(""))
        for column in PURCHASE_NEEDS
    ]
    lacks = pc.utf8_rtrim(pc.binary_join_element_wise(*names, ""), characters=", ")
    wrong = pc.and_(pc.equal(rows["event_type"], "purchase"), pc.not_equal(lacks, ""))
    return pc.if_else(pc.fill_null(wrong, False), lacks, pa.scalar(None, pa.string()))


def known_ids(landed: Collection | None, passed):
    """The ids landed before and those that passed in this batch, as one Arrow array of strings."""
    import pyarrow as pa

    parts = [] if landed is None else [_as_strings(landed)]
    parts += [] if passed is None else [_as_strings(passed)]
    return pa.concat_arrays(parts) if parts else pa.array([], pa.string())


def _as_strings(ids):
    import pyarrow as pa

    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    return ids.cast(pa.string()) if isinstance(ids, pa.Array) else pa.array(list(ids), pa.string())
