"""Folders of files in the contract, or with differences that the adapter can convert."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.contract import TABLES, arrow_schema
from feature_repo.sources.files import source as files

NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    """Writes files into a folder: CSV from text, Parquet from columns."""

    def write(**contents):
        for name, content in contents.items():
            if name == "mapping":
                (tmp_path / "mapping.toml").write_text(content, encoding="utf-8")
            elif isinstance(content, str):
                (tmp_path / f"{name}.csv").write_text(content, encoding="utf-8")
            else:
                pq.write_table(pa.table(content), tmp_path / f"{name}.parquet")
        return tmp_path

    return write


def users(folder, csv: str, mapping: str = ""):
    batch = files.read(folder(users=csv, mapping=mapping))
    return batch.tables["users"].to_pylist(), batch.rejected["users"].to_pylist()


def instants(folder, *texts: str, mapping: str = ""):
    lines = "\n".join(f"u{i},{text}" for i, text in enumerate(texts))
    good, bad = users(folder, f"user_id,event_timestamp\n{lines}\n", mapping)
    return [row["event_timestamp"] for row in good], bad


def event(**columns) -> dict:
    """One purchase as Parquet columns."""
    row = {
        "event_id": ["e1"],
        "event_timestamp": pa.array([NOON], pa.timestamp("us", "UTC")),
        "user_id": ["u1"],
        "event_type": ["purchase"],
    }
    return row | columns


def first_event(folder, mapping: str = "", **columns) -> dict:
    batch = files.read(folder(events=event(**columns), mapping=mapping))
    assert batch.rejected["events"].num_rows == 0
    return batch.tables["events"].to_pylist()[0]


def test_tables_come_in_contract_types_and_order(folder):
    batch = files.read(
        folder(users="event_timestamp,user_id\n2025-01-15T12:00:00Z,7\n", events=event())
    )
    assert list(batch.tables) == ["users", "events"]
    for name, table in batch.tables.items():
        assert table.column_names == [*TABLES[name].column_names, "_row"]
        assert table.select(TABLES[name].column_names).cast(arrow_schema(TABLES[name]))
    assert batch.watermark is None


def test_missing_nullable_column_is_null_and_a_missing_time_of_learning_is_assumed(folder):
    batch = files.read(folder(users="user_id,event_timestamp\nu1,2025-01-15T12:00:00Z\n"))
    row = batch.tables["users"].to_pylist()[0]
    assert row["age_min"] is None and row["is_married"] is None
    assert row["created_timestamp"] == row["event_timestamp"] == NOON
    assert batch.learned == {"users": "assumed"}


def test_time_of_learning_in_the_file_is_stated(folder):
    csv = "user_id,event_timestamp,created_timestamp\nu1,2025-01-15T12:00Z,2025-01-16T12:00Z\n"
    assert files.read(folder(users=csv)).learned == {"users": "stated"}


def test_offsets_are_converted_to_utc(folder):
    good, bad = instants(
        folder,
        "2025-01-15T12:00:00Z",
        "2025-01-15 07:00:00-05:00",
        "2025-01-15T17:30+05:30",
        "2025-01-15T17:30:00.000 +0530",
        "2025-01-15 13:00:00+01",
        "2025-1-15 12:00:00 UTC",
        "2025-01-15T12:00:00z",
    )
    assert good == [NOON] * 7 and bad == []


def test_naive_time_without_a_zone_in_the_mapping_is_rejected(folder):
    good, bad = instants(folder, "2025-01-15T12:00:00Z", "2025-01-15T12:00:00", "2025-01-15")
    assert good == [NOON]
    assert [(row["row_number"], row["rule"]) for row in bad] == [(2, "time_zone"), (3, "time_zone")]
    assert bad[0]["reason"] == (
        "users row 2: event_timestamp should be an instant with its zone, such as "
        "2017-12-01T00:00:00Z, got '2025-01-15T12:00:00'."
    )


def test_naive_time_is_read_in_the_zone_of_the_mapping_and_an_offset_wins(folder):
    good, bad = instants(
        folder,
        "2025-01-15T13:00:00",
        "2025-07-15 14:00",
        "2025-07-15",
        "2025-07-15T12:00:00Z",
        mapping='timezone = "Europe/Paris"',
    )
    july = datetime(2025, 7, 15, 12, tzinfo=UTC)
    assert good == [NOON, july, datetime(2025, 7, 14, 22, tzinfo=UTC), july]
    assert bad == []


def test_skipped_local_hour_is_rejected_and_a_repeated_one_is_the_later(folder):
    good, bad = instants(
        folder, "2025-10-26 02:30:00", "2025-03-30 02:30:00", mapping='timezone = "Europe/Paris"'
    )
    assert good == [datetime(2025, 10, 26, 1, 30, tzinfo=UTC)]
    assert [(row["row_number"], row["rule"]) for row in bad] == [(2, "time_zone")]
    assert (
        "or a local time that exists in Europe/Paris, got '2025-03-30 02:30:00'" in bad[0]["reason"]
    )


@pytest.mark.parametrize("text", ["2025-02-30T12:00:00Z", "15.1.2025", "1736942400", "noon"])
@pytest.mark.parametrize("mapping", ["", 'timezone = "Europe/Paris"'])
def test_text_that_is_not_a_time_is_rejected(folder, text, mapping):
    good, bad = instants(folder, text, mapping=mapping)
    assert good == [] and bad[0]["rule"] == "type" and f"got '{text}'" in bad[0]["reason"]


@pytest.mark.parametrize(
    ("kind", "mapping", "hour"),
    [
        (pa.timestamp("ns", "UTC"), "", 12),
        (pa.timestamp("ns"), 'timezone = "Europe/Paris"', 11),
        (pa.timestamp("ms", "America/New_York"), "", 12),
        (pa.timestamp("s"), 'timezone = "Europe/Paris"', 11),
    ],
)
def test_parquet_times_of_any_unit_become_microseconds_in_utc(folder, kind, mapping, hour):
    at = pa.array([NOON], pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()[0]
    scale = {"s": 1, "ms": 1_000, "ns": 1_000_000_000}[kind.unit]
    values = pa.array([at * scale // 1_000_000 + (999 if kind.unit == "ns" else 0)], kind)
    found = first_event(folder, mapping, event_timestamp=values)
    assert found["event_timestamp"] == NOON.replace(hour=hour)


def test_days_and_skipped_hours_in_parquet_are_read_in_the_zone_of_the_mapping(folder):
    paris = 'timezone = "Europe/Paris"'
    day = first_event(folder, paris, event_timestamp=pa.array([date(2025, 7, 15)]))
    assert day["event_timestamp"] == datetime(2025, 7, 14, 22, tzinfo=UTC)
    skipped = pa.array([datetime(2025, 3, 30, 2, 30)], pa.timestamp("us"))
    batch = files.read(folder(events=event(event_timestamp=skipped), mapping=paris))
    bad = batch.rejected["events"].to_pylist()
    assert [row["rule"] for row in bad] == ["time_zone"]
    assert "got '2025-03-30 02:30:00'" in bad[0]["reason"]


def test_column_without_any_value_is_null(folder):
    found = first_event(folder, quantity=pa.nulls(1), basket_id=pa.nulls(1))
    assert found["quantity"] is None and found["basket_id"] is None


def test_ids_that_are_whole_numbers_or_categories_become_text(folder):
    found = first_event(
        folder, user_id=[17], product_id=pa.array([2**40], pa.uint64()), basket_id=["b"],
        event_type=pa.array(["cart"]).dictionary_encode(),
    )  # fmt: skip
    assert (found["user_id"], found["product_id"]) == ("17", str(2**40))
    assert found["event_type"] == "cart"


@pytest.mark.parametrize(
    "values",
    [["3.50"], [3.5], pa.array([Decimal("3.50")]), [" 3.5 "], pa.array([3.5], pa.float32())],
)
def test_money_in_major_units_becomes_cents(folder, values):
    assert first_event(folder, 'money = "major"', amount=values)["amount"] == 350


def test_money_in_minor_units_is_unchanged(folder):
    assert first_event(folder, amount=[350])["amount"] == 350
    assert first_event(folder, amount=[350.0])["amount"] == 350


def test_rounding_error_of_a_float_amount_is_removed(folder):
    assert first_event(folder, 'money = "major"', amount=[0.1 + 0.2])["amount"] == 30


def test_every_amount_of_money_is_scaled_but_a_percentage_is_not(folder):
    lines = (
        "coupon_id,event_timestamp,coupon_code,campaign_id,audience,valid_from,valid_to,"
        "discount_type,discount_value,min_spend\n"
        "c1,2025-01-01,x,k,open,2025-01-02,2025-01-03,percent,20,10.00\n"
        "c2,2025-01-01,x,k,open,2025-01-02,2025-01-03,amount_off,1.50,\n"
    )
    mapping = 'money = "major"\ntimezone = "UTC"'
    batch = files.read(
        folder(
            coupons=lines,
            users="user_id,event_timestamp,income_min\nu1,2025-01-01,15000\n",
            mapping=mapping,
        )
    )
    coupons = batch.tables["coupons"]
    assert coupons["discount_value"].to_pylist() == [20, 150]
    assert coupons["min_spend"].to_pylist() == [1000, None]
    assert batch.tables["users"]["income_min"].to_pylist() == [1_500_000]


@pytest.mark.parametrize("amount", ["3,50", "3.505", "1.0000001", "abc", "1e2", "9" * 30, "inf"])
def test_amount_that_is_not_exact_cents_is_rejected(folder, amount):
    csv = (
        "event_id,event_timestamp,user_id,event_type,amount\n"
        f'e1,2025-01-15T12:00:00Z,u1,purchase,"{amount}"\n'
    )
    batch = files.read(folder(events=csv, mapping='money = "major"'))
    assert batch.tables["events"].num_rows == 0
    assert batch.rejected["events"]["reason"].to_pylist() == [
        f"events row 1: amount should be an amount such as 3.50, got '{amount}'."
    ]


def test_number_that_is_not_finite_is_rejected_with_a_payload_that_is_json(folder):
    batch = files.read(folder(events=event(amount=[float("nan")], quantity=[float("inf")])))
    row = batch.rejected["events"].to_pylist()[0]
    assert "quantity should be a whole number, got 'inf'; amount" in row["reason"]
    assert set(json.loads(row["payload"])) == set(TABLES["events"].column_names)


def test_rejected_row_names_every_wrong_value_and_keeps_the_whole_row(folder):
    good, bad = users(
        folder,
        "user_id,event_timestamp,age_min,is_married,household_size\n"
        "u1,2025-01-15T12:00:00Z,30,yes,2\n"
        "u2,2025-01-15T13:00:00+01:00,thirty,maybe,2\n",
    )
    assert [(row["user_id"], row["is_married"], row["_row"]) for row in good] == [("u1", True, 1)]
    assert (bad[0]["row_number"], bad[0]["rule"]) == (2, "type")
    assert bad[0]["reason"] == (
        "users row 2: age_min should be a whole number, got 'thirty'; "
        "is_married should be true or false, got 'maybe'."
    )
    assert json.loads(bad[0]["payload"]) == {
        "user_id": "u2",
        "event_timestamp": "2025-01-15T12:00:00.000000Z",
        "created_timestamp": "2025-01-15T12:00:00.000000Z",
        "age_min": "thirty",
        "income_min": None,
        "household_size": 2,
        "kids_count": None,
        "is_homeowner": None,
        "is_married": "maybe",
    }


def test_repaired_payload_is_a_row_of_the_contract(folder, tmp_path):
    _, bad = users(folder, "user_id,event_timestamp,age_min\nu2,2025-01-15T12:00:00Z,x\n")
    repaired = json.loads(bad[0]["payload"]) | {"age_min": 30}
    (tmp_path / "again").mkdir()
    pq.write_table(pa.Table.from_pylist([repaired]), tmp_path / "again" / "users.parquet")
    row = files.read(tmp_path / "again").tables["users"].to_pylist()[0]
    assert (row["user_id"], row["age_min"], row["event_timestamp"]) == ("u2", 30, NOON)


def test_renamed_columns_and_constants_with_special_characters_are_read(folder):
    mapping = """
        timezone = "Europe/Paris"
        money = "major"
        [events]
        file = "my sales.csv"
        columns = { event_id = "No.", user_id = "card, \\"old\\"", event_timestamp = "raw" }
        constants = { event_type = "purchase", basket_id = "it's", quantity = 2, amount = 1.5 }
    """
    path = folder(mapping=mapping)
    (path / "my sales.csv").write_text(
        'No.,"card, ""old""",raw,_row,source,USER_ID,amount\n'
        "1,c1,2025-01-15 13:00:00,7,8,9,99\n"
        "2,c2,broken,7,8,9,99\n"
    )
    batch = files.read(path)
    row = batch.tables["events"].to_pylist()[0]
    assert (row["event_id"], row["user_id"], row["event_timestamp"]) == ("1", "c1", NOON)
    assert (row["event_type"], row["basket_id"]) == ("purchase", "it's")
    assert (row["quantity"], row["amount"], row["_row"]) == (2, 150, 1)
    payload = json.loads(batch.rejected["events"]["payload"].to_pylist()[0])
    assert (payload["event_id"], payload["user_id"]) == ("2", "c2")
    assert (payload["event_timestamp"], payload["amount"]) == ("broken", 150)


def test_quoted_commas_newlines_and_a_byte_order_mark_are_read(folder):
    path = folder()
    (path / "products.csv").write_text(
        'product_id,event_timestamp,"name"\n007,2025-01-15T12:00:00Z,"Milk, 1 l\n""fresh"""\n'
        "008,2025-01-15T12:00:00Z,\n",
        encoding="utf-8-sig",
    )
    batch = files.read(path)
    assert batch.tables["products"]["name"].to_pylist() == ['Milk, 1 l\n"fresh"', None]
    assert batch.tables["products"]["product_id"].to_pylist() == ["007", "008"]
    assert batch.tables["products"]["_row"].to_pylist() == [1, 2]


def test_newlines_within_quotes_are_read_anywhere_in_a_large_file(folder):
    lines = [f'{i},2025-01-15T12:00:00Z,"Milk\n\n{"fresh " * 20}"' for i in range(15_000)]
    text = "\n".join(["product_id,event_timestamp,name", *lines, ""])
    assert len(text) > 2**21
    assert files.read(folder(products=text)).tables["products"].num_rows == 15_000


def test_null_in_a_required_column_is_left_to_validation(folder):
    good, bad = users(folder, "user_id,event_timestamp\n,2025-01-15T12:00:00Z\nu2,\n")
    assert [row["user_id"] for row in good] == [None, "u2"] and bad == []


def test_folder_of_part_files_is_one_table_in_the_order_of_names(folder):
    path = folder()
    (path / "events").mkdir()
    for number in (2, 1):
        columns = event(event_id=[f"e{number}"])
        pq.write_table(pa.table(columns), path / "events" / f"part-{number}.parquet")
    (path / "events" / "_SUCCESS").touch()
    events = files.read(path).tables["events"]
    assert events["event_id"].to_pylist() == ["e1", "e2"]
    assert events["_row"].to_pylist() == [1, 2]


def test_progress_is_called_with_each_table(folder):
    heard = []
    csv = "user_id,event_timestamp\nu1,2025-01-15T12:00:00Z\n"
    files.read(folder(events=event(), users=csv), heard.append)
    assert heard == ["users", "events"]


def test_row_without_an_instant_of_learning_was_learned_when_it_happened(folder):
    rows, rejected = users(
        folder,
        "user_id,event_timestamp,created_timestamp\n"
        "u1,2025-01-15T12:00:00Z,\n"
        "u2,2025-01-15T12:00:00Z,2025-01-16T12:00:00Z\n"
        "u3,2025-01-15T12:00:00Z,soon\n",
    )
    assert [row["created_timestamp"].day for row in rows] == [15, 16]
    assert "created_timestamp should be" in rejected[0]["reason"]


def redemption(folder, columns: str, values: str) -> dict:
    text = f"redemption_id,user_id,coupon_id,event_timestamp{columns}\nr1,u1,c1,{NOON}{values}\n"
    batch = files.read(folder(redemptions=text))
    assert batch.rejected["redemptions"].num_rows == 0
    return batch.tables["redemptions"].to_pylist()[0]


LATER = "2025-01-16T12:00:00Z"


def test_redemption_that_was_taken_back_is_learned_when_that_happened(folder):
    row = redemption(folder, ",canceled_timestamp", f",{LATER}")
    assert row["created_timestamp"] == row["canceled_timestamp"] == datetime.fromisoformat(LATER)
    stands = redemption(folder, ",canceled_timestamp", ",")
    assert stands["canceled_timestamp"] is None and stands["created_timestamp"] == NOON


def test_stated_instant_of_learning_stays_beside_that_of_taking_back(folder):
    row = redemption(folder, ",canceled_timestamp,created_timestamp", f",{LATER},{NOON}")
    assert row["created_timestamp"] == NOON
