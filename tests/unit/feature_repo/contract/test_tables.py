"""The parts of the contract agree with each other."""

import re

import pytest

from feature_repo.contract import AUDIENCES, DISCOUNT_TYPES, EVENT_TYPES, TABLES

COLUMNS = [(table, column) for table in TABLES.values() for column in table.columns]
COLUMN_IDS = [f"{table.name}.{column.name}" for table, column in COLUMNS]

each_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
each_column = pytest.mark.parametrize(("table", "column"), COLUMNS, ids=COLUMN_IDS)


def test_tables_are_those_of_the_design():
    assert list(TABLES) == [
        "users",
        "products",
        "coupons",
        "coupon_products",
        "coupon_terms",
        "product_terms",
        "exposures",
        "events",
        "redemptions",
    ]
    assert all(name == table.name for name, table in TABLES.items())


def test_kinds_of_events_discounts_and_audiences_are_those_of_the_design():
    assert EVENT_TYPES == ("view", "search", "favorite", "cart", "purchase")
    assert DISCOUNT_TYPES == (
        "percent",
        "amount_off",
        "amount_off_over_threshold",
        "gift",
        "cashback",
    )
    assert AUDIENCES == ("targeted", "open")


@each_table
def test_table_has_a_description_and_no_column_twice(table):
    assert table.meaning.endswith(".")
    assert len(set(table.column_names)) == len(table.columns)


@each_table
def test_key_columns_are_required_text(table):
    assert table.key
    for name in table.key:
        assert table.column(name).type == "string" and not table.column(name).nullable


@each_table
def test_row_has_both_instants_and_neither_is_null(table):
    for name in ("event_timestamp", "created_timestamp"):
        assert table.column(name).type == "timestamp" and not table.column(name).nullable


@each_table
def test_parents_exist_and_come_before_their_children(table):
    order = list(TABLES)
    for parent in table.parents:
        assert parent.column in table.column_names
        assert parent.parent_column in TABLES[parent.table].column_names
        assert order.index(parent.table) < order.index(table.name)


@each_table
def test_id_of_another_table_has_a_parent(table):
    # A table of terms has the same key as the table it refers to, which comes before it.
    single = [other for other in TABLES.values() if len(other.key) == 1]
    keys = {other.key[0]: other.name for other in reversed(single)}
    named = {parent.column for parent in table.parents}
    foreign = {name for name in table.column_names if keys.get(name, table.name) != table.name}
    assert foreign <= named


@each_table
def test_ordered_pairs_are_columns_of_time(table):
    for pair in table.ordered:
        assert [table.column(name).type for name in pair] == ["timestamp", "timestamp"]


@each_table
def test_columns_that_are_stated_together_may_both_be_null(table):
    for pair in table.together:
        assert all(table.column(name).nullable for name in pair)


@each_column
def test_column_is_documented_in_a_sentence(table, column):
    assert re.fullmatch(r"[A-Z].{8,}\.", column.meaning)


@each_column
def test_column_has_a_type_of_the_contract_and_a_plain_lower_case_name(table, column):
    assert column.type in ("string", "int64", "float64", "bool", "timestamp")
    assert re.fullmatch(r"[a-z][a-z_]*", column.name)


@each_column
def test_ids_are_text_and_times_are_instants(table, column):
    if column.name.endswith(("_id", "_code")):
        assert column.type == "string"
    if column.name.endswith("_timestamp") or column.name.startswith("valid_"):
        assert column.type == "timestamp"


@each_column
def test_bounds_are_for_numbers_and_allowed_values_for_text(table, column):
    if column.minimum is not None or column.maximum is not None:
        assert column.type in ("int64", "float64")
    if column.minimum is not None and column.maximum is not None:
        assert column.minimum < column.maximum
    if column.allowed is not None:
        assert column.type == "string" and len(set(column.allowed)) == len(column.allowed)


@each_column
def test_money_is_whole_cents_and_its_description_states_the_unit(table, column):
    is_money = "minor units" in column.meaning
    assert is_money == (column.unit is not None)
    if is_money:
        assert column.type == "int64" and column.minimum == 0
        assert column.unit in ("cents", "percent or cents")


def test_only_events_are_partitioned_by_month():
    assert [name for name, table in TABLES.items() if table.partitioned] == ["events"]


def test_unknown_column_raises_an_error():
    with pytest.raises(StopIteration):
        TABLES["users"].column("shoe_size")
