"""Folders with a contract.sql: what is read, and what is refused with its line and table."""

import gzip
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.sources import SourceError
from feature_repo.sources.sql.source import read

SALES = "no,sold_at,card,item,n,price\n007,2025-01-15 13:00:00,c1,p1,3,0.10\n"
USERS = "CREATE VIEW users AS SELECT '007' AS user_id, TIMESTAMPTZ '2025-01-01' AS event_timestamp"
EVENTS = """
SET VARIABLE timezone = 'Europe/Paris';
SET VARIABLE money = 'major';
CREATE VIEW events AS
SELECT no AS event_id, CAST(sold_at AS TIMESTAMP) AS event_timestamp, card AS user_id,
    'purchase' AS event_type, item AS product_id, CAST(n AS BIGINT) AS quantity,
    CAST(n AS BIGINT) * CAST(price AS DECIMAL(18, 4)) AS amount
FROM 'sales.csv';
"""


@pytest.fixture
def folder(tmp_path):
    """Writes a contract.sql and files of text or bytes; returns their folder."""

    def write(sql: str, **contents):
        shop = tmp_path / "shop"
        shop.mkdir(exist_ok=True)
        (shop / "contract.sql").write_text(sql, encoding="utf-8")
        for name, content in contents.items():
            data = content if isinstance(content, bytes) else content.encode()
            stem, _, suffix = name.partition("_")
            (shop / f"{stem}.{suffix.replace('_', '.') or 'csv'}").write_bytes(data)
        return shop

    return write


def refused(shop) -> str:
    with pytest.raises(SourceError) as caught:
        read(shop)
    message = str(caught.value)
    assert str(shop) in message or "changed" in message
    return message.replace(f"{shop}/", "")


def events(shop) -> list[dict]:
    batch = read(shop)
    assert batch.rejected["events"].num_rows == 0
    return batch.tables["events"].to_pylist()


def test_select_becomes_rows_of_the_contract(folder):
    (row,) = events(folder(EVENTS, sales=SALES))
    assert (row["event_id"], row["user_id"], row["quantity"], row["_row"]) == ("007", "c1", 3, 1)
    assert row["event_timestamp"] == datetime(2025, 1, 15, 12, tzinfo=UTC)
    assert row["amount"] == 30, "three times 0.10 is 30 cents, not 30.000000000000004"
    assert row["basket_id"] is None


def test_batch_names_its_source_and_the_origin_of_the_instants(folder):
    batch = read(folder(f"{EVENTS}{USERS};", sales=SALES))
    assert (batch.source, list(batch.tables)) == ("sql:shop", ["users", "events"])
    assert batch.learned == {"users": "assumed", "events": "assumed"}


def test_compressed_tab_and_semicolon_files_are_text_alike(folder):
    tabs = SALES.replace(",", "\t")
    for name, content in (
        ("sales.csv.gz", gzip.compress(SALES.encode())),
        ("sales.tsv", tabs.encode()),
        ("sales.csv", SALES.replace(",", ";").encode()),
        ("sales.csv", b"\xef\xbb\xbf" + SALES.replace("\n", "\r\n").encode()),
    ):
        shop = folder(EVENTS.replace("sales.csv", name))
        (shop / name).write_bytes(content)
        assert events(shop)[0]["event_id"] == "007"


def test_pattern_reads_files_of_one_header(folder):
    sql = EVENTS.replace("'sales.csv'", "'sales_*.csv'")
    shop = folder(sql)
    (shop / "sales_1.csv").write_text(SALES)
    (shop / "sales_2.csv").write_text(SALES.replace("007", "008"))
    assert sorted(row["event_id"] for row in events(shop)) == ["007", "008"]
    (shop / "sales_3.csv").write_text("no,item\n9,p\n")
    assert "sales_*.csv have different headers" in refused(shop)


def test_parquet_and_files_below_the_folder_are_read(folder):
    shop = folder(
        EVENTS.replace("'sales.csv'", "'parts/sales.csv' JOIN 'items.parquet' USING (item)")
    )
    (shop / "parts").mkdir()
    (shop / "parts" / "sales.csv").write_text(SALES)
    pq.write_table(pa.table({"item": ["p1"]}), shop / "items.parquet")
    assert events(shop)[0]["product_id"] == "p1"


def test_json_keeps_its_types_and_other_encodings_are_read_by_the_users_own_call(folder):
    shop = folder(EVENTS.replace("'sales.csv'", "'sales.json'"))
    (shop / "sales.json").write_text(
        '{"no":"007","sold_at":"2025-01-15 13:00:00","card":"c1","item":1,"n":3,"price":"0.10"}'
    )
    assert (events(shop)[0]["event_id"], events(shop)[0]["product_id"]) == ("007", "1")
    call = "read_csv('sales.csv', encoding = 'latin-1', delim = '|', header = true, skip = 0, "
    shop = folder(EVENTS.replace("'sales.csv'", f"{call}all_varchar = true)"))
    (shop / "sales.csv").write_bytes(
        SALES.replace(",", "|").replace("p1", "caf\xe9").encode("latin-1")
    )
    assert events(shop)[0]["product_id"] == "café"


def test_quoted_newlines_and_empty_fields_are_read(folder):
    sales = SALES + '008,2025-01-15 13:00:00,c1,"p\r\n""2""",1,2\n009,2025-01-16,"",p3,1,2\n'
    rows = events(folder(EVENTS, sales=sales))
    assert [row["product_id"] for row in rows] == ["p1", 'p\r\n"2"', "p3"]
    assert rows[2]["user_id"] is None, "validation refuses it"


def test_row_that_does_not_fit_is_kept_apart(folder):
    batch = read(folder(EVENTS, sales=SALES + "008,2025-03-30 02:30:00,c1,p1,1,0.125\n"))
    (bad,) = batch.rejected["events"].to_pylist()
    assert (bad["row_number"], bad["rule"]) == (2, "time_zone")
    assert "amount should be an amount such as 3.50, got '0.1250'" in bad["reason"]
    assert "exists in Europe/Paris" in bad["reason"]
    assert batch.tables["events"].num_rows == 1


def test_decimals_beyond_six_places_are_not_rounded_to_whole_cents(folder):
    sql = EVENTS.replace("DECIMAL(18, 4)", "DECIMAL(28, 10)")
    batch = read(folder(sql, sales=SALES.replace("0.10", "0.1000000001")))
    assert batch.tables["events"].num_rows == 0 and batch.rejected["events"].num_rows == 1


def test_minor_units_of_whole_numbers_need_no_setting(folder):
    sql = EVENTS.replace("SET VARIABLE money = 'major';", "").replace(
        "CAST(n AS BIGINT) * CAST(price AS DECIMAL(18, 4)) AS amount", "350 AS amount"
    )
    assert events(folder(sql, sales=SALES))[0]["amount"] == 350


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            "AS DECIMAL(18, 4)) AS amount",
            "AS DOUBLE) AS amount",
            ("amount as DOUBLE, expected DECIMAL or BIGINT", "Money is exact"),
        ),
        ("SET VARIABLE money = 'major';", "", ("unit of money is not stated", "'major'")),
        ("SET VARIABLE timezone = 'Europe/Paris';", "", ("names no zone", "SET VARIABLE timezone")),
        ("card AS user_id", "1.5::DOUBLE AS user_id", ("user_id as DOUBLE, expected VARCHAR",)),
        ("CAST(sold_at AS TIMESTAMP)", "1736942400000", ("as BIGINT", "make_timestamptz(1000")),
        ("card AS user_id,", "", ("lacks the column user_id", "are event_id,")),
        ("item AS product_id", "item AS product", ("has the column product, ", "near: product_id")),
        ("price AS", "prize AS", ('"prize" not found',)),
        ("CAST(n AS BIGINT) AS quantity", "n * 2 AS quantity", ("of events", "are text: cast")),
        ("FROM 'sales.csv'", "FROM 'sales.csv' WHERE false", ("returns no rows",)),
        ("FROM 'sales.csv'", "FROM sale", ("Table with name sale does not exist",)),
    ],
)
def test_select_that_does_not_fit_is_named_with_its_line(folder, before, after, words):
    message = refused(folder(EVENTS.replace(before, after, 1), sales=SALES))
    assert "contract.sql, line " in message and "the SELECT of events" in message
    for one in words:
        assert one in message
    assert len(message) < 700 and "\n" not in message


@pytest.mark.parametrize(
    ("change", "line"), [(("card AS", "kard AS"), 5), (("CAST(price", "CAST(item"), 7)]
)
def test_error_names_the_line_of_the_fault(folder, change, line):
    message = refused(folder(EVENTS.replace(*change), sales=SALES))
    assert message.startswith(f"contract.sql, line {line}: the SELECT of events")


def test_value_that_cannot_be_cast_names_the_line_of_its_file(folder):
    message = refused(folder(EVENTS, sales=SALES + "8,2025-01-15,c1,p1,two,1\n"))
    assert "the SELECT of events" in message and "'two'" in message.replace('"', "'")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT 1", ("line 1: expected CREATE VIEW", "Name its table")),
        (f"{USERS};\n\nCOPY users TO 'x.csv'", ("line 3: expected CREATE VIEW", "COPY users")),
        (f"{USERS};\nINSTALL httpfs", ("line 2: expected CREATE VIEW",)),
        (f"{USERS};\nSET memory_limit = '1TB'", ("line 2: expected CREATE VIEW",)),
        (f"{USERS};\nATTACH 'x.db'", ("line 2: expected CREATE VIEW",)),
        (f"-- users\n\n{USERS} FROMM", ("line 3: Parser Error: syntax error", "FROMM")),
        (f"{USERS};\n{USERS}", ("line 2: users is defined at line 1 already",)),
        (f"{USERS};\nCREATE VIEW event AS SELECT 1", ("line 2: the view event is", "events")),
        (f"SET VARIABLE mony = 'major';{USERS}", ("variable mony is not used", "money")),
        (f"SET VARIABLE money = 'cents';{USERS}", ("money should be minor or major, got 'cents'",)),
        (f"SET VARIABLE timezone = 'Paris';{USERS}", ("timezone should be a name like",)),
        ("CREATE MACRO m() AS 1; CREATE VIEW a AS SELECT m() FROM a", ("SELECT of a", "name a")),
        ("SET VARIABLE money = 'major'", ("defines no table of the contract", "redemptions")),
        ("", ("defines no table of the contract",)),
        ("CREATE VIEW users AS FROM 'nope.csv'", ("line 1: nope.csv is not in the folder",)),
        ("CREATE VIEW users AS FROM read_csv('a.csv')", ("guesses types", "all_varchar = true")),
        ("CREATE VIEW users AS FROM read_xlsx('a.xlsx')", ("SELECT of users", "save a workbook")),
        ("CREATE VIEW users AS FROM 'http://127.0.0.1/a.parquet'", ("Only files in the folder",)),
    ],
)  # fmt: skip
def test_file_that_is_no_contract_is_refused(folder, sql, words):
    message = refused(folder(sql))
    assert message.startswith("contract.sql")
    for one in words:
        assert one in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no,no\n1,2\n", ("sales.csv has the column no more than once",)),
        ("", ("sales.csv has no header",)),
        ("sep=;\nno;n\n1;2\n", ("sales.csv starts with 'sep=;'", "skip = 1")),
        (SALES + '8,2025-01-15,c1,"p1,1,1\n9,2025-01-15,c,p,1,1\n', ("sales.csv, line 3", "quote")),
        (SALES + "8,2025-01-15,c1\n", ("sales.csv, line 3", "of Columns: 6 Found: 3")),
        (SALES.encode() + b"8,2025-01-15,c\xe9,p1,1,1\n", ("sales.csv, line 3", "latin-1")),
    ],
)  # fmt: skip
def test_csv_file_that_is_damaged_is_refused_with_its_line(folder, content, words):
    message = refused(folder(EVENTS, sales=content))
    assert message.startswith("contract.sql, line ")
    for one in words:
        assert one in message


def test_file_outside_the_folder_is_not_read(folder, tmp_path):
    (tmp_path / "secret.csv").write_text(SALES)
    for name in ("../secret.csv", str(tmp_path / "secret.csv"), "../shop/../secret.csv"):
        message = refused(folder(EVENTS.replace("sales.csv", name)))
        assert (
            "Only files in the folder can be read" in message or "is not in the folder" in message
        )
    for function in ("read_text", "read_blob", "glob"):
        message = refused(folder(f"CREATE VIEW users AS FROM {function}('../secret.csv')"))
        assert "Only files in the folder can be read" in message


def test_words_for_null_and_files_that_no_select_reads_are_named(folder):
    shop = folder(f"{EVENTS}{USERS};", sales=SALES.replace("p1", "NA"), causal="a\n1\n")
    (shop / "sales").mkdir()
    (shop / "sales" / "old.csv").write_text("a\n1\n")
    batch = read(shop)
    assert batch.tables["events"]["product_id"].to_pylist() == [None]
    assert batch.assumed == (
        "events.product_id: NA in 1 rows read as null.",
        "contract.sql reads nothing from causal.csv, sales/old.csv.",
    )
    kept = folder(f"SET VARIABLE nulls = ['?'];{EVENTS}", sales=SALES.replace("p1", "NA"))
    assert events(kept)[0]["product_id"] == "NA"


def test_word_for_null_in_a_number_is_refused_with_the_sql_that_settles_it(folder):
    sql = EVENTS.replace("CAST(n AS BIGINT) AS quantity", "'NA' AS quantity")
    batch = read(folder(sql, sales=SALES))
    assert (
        "write nullif(..., 'NA') in contract.sql" in batch.rejected["events"]["reason"][0].as_py()
    )


def test_file_that_changes_during_the_read_stops_it(folder):
    shop = folder(f"{EVENTS}{USERS};", sales=SALES)

    def change(name: str) -> None:
        (shop / "sales.csv").write_text(SALES + "\n")

    with pytest.raises(SourceError, match="changed while it was read"):
        read(shop, change)


def test_working_directory_is_as_before_after_an_error(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    refused(folder("CREATE VIEW users AS FROM nope"))
    assert (tmp_path / "shop").samefile("shop")


def test_folder_without_a_contract_names_the_draft(tmp_path):
    with pytest.raises(SourceError, match="--init"):
        read(tmp_path)
    with pytest.raises(SourceError, match="is no folder"):
        read(tmp_path / "nope")
