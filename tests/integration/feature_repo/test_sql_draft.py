"""The draft of a contract.sql: what it lists and guesses, and that it runs once it is completed."""

import gzip
import re

import pytest

from feature_repo.sources import SourceError
from feature_repo.sources.files import source as files
from feature_repo.sources.sql.draft import write_draft
from feature_repo.sources.sql.source import read

SALES = (
    "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID\n"
    '700001,007,"MUG, ""BIG""",12,2010-03-01 09:10:00,6.95,19001.0\n'
    "700002,008,,1,2010-03-02 10:00:00,2.1,\n"
)


def completed(draft: str) -> str:
    """The draft without the comment marks of its views and settings."""
    text = re.sub(r"^-- SET", "SET", draft, flags=re.MULTILINE)
    views = re.findall(r"^-- CREATE VIEW.*?;$", text, re.MULTILINE | re.DOTALL)
    for view in views:
        text = text.replace(view, re.sub(r"^-- ", "", view, flags=re.MULTILINE))
    return text


def test_draft_lists_every_file_with_first_values(tmp_path):
    (tmp_path / "sales.csv.gz").write_bytes(gzip.compress(SALES.encode()))
    (tmp_path / "broken.csv").write_text("a,a\n1,2\n")
    (tmp_path / "notes.pdf").write_text("no data")
    (tmp_path / "strange.csv").write_text("a\n\u202e\x1bdrop\n")
    draft = write_draft(tmp_path).read_text()
    assert "-- sales.csv.gz" in draft and "--     StockCode    007, 008" in draft
    assert "-- broken.csv: broken.csv has the column a more than once" in draft
    assert "notes.pdf" not in draft
    assert "\x1b" not in draft and "\u202e" not in draft
    assert all(line.startswith("--") for line in draft.splitlines() if line)


def test_draft_guesses_ids_times_and_the_amount_of_a_line(tmp_path):
    (tmp_path / "sales.csv").write_text(SALES)
    draft = write_draft(tmp_path).read_text()
    for guess in (
        r"regexp_replace(\"Customer ID\", '\.0$', '') AS user_id".replace("\\\"", '"'),
        'CAST("Quantity" AS DECIMAL(18, 4)) * CAST("Price" AS DECIMAL(18, 4)) AS amount',
        'max("Description") AS name',
        "concat_ws('-', \"Invoice\", row_number() OVER ()) AS event_id",
    ):  # fmt: skip
        assert guess in draft
    assert "coupons: One coupon" in draft and "No file seems to have it" in draft


def test_draft_of_sales_runs_once_its_comment_marks_are_removed(tmp_path):
    (tmp_path / "sales.csv").write_text(SALES)
    path = write_draft(tmp_path)
    path.write_text(completed(path.read_text()))
    tables = read(tmp_path).tables
    assert tables["users"]["user_id"].to_pylist() == ["19001"]
    assert sorted(tables["products"]["product_id"].to_pylist()) == ["007", "008"]
    assert tables["events"]["event_id"].to_pylist() == ["700001-1", "700002-2"]
    assert tables["events"]["amount"].to_pylist() == [8340, 210]


def test_draft_of_files_in_the_contract_reads_what_the_files_say(tmp_path):
    (tmp_path / "users.csv").write_text(
        "user_id,event_timestamp,age_min,is_married\nu1,2025-01-01T00:00:00Z,30,true\n"
    )
    (tmp_path / "coupon_products.csv").write_text(
        "coupon_id,product_id,event_timestamp\nc1,007,2025-01-01T00:00:00Z\n"
    )
    expected = files.read(tmp_path).tables
    path = write_draft(tmp_path)
    path.write_text(completed(path.read_text()))
    assert "???" not in path.read_text().split("users:")[1].split("products:")[0]
    found = read_only(tmp_path, ["users", "coupon_products"])
    for name in found:
        assert found[name].equals(expected[name]), name


def read_only(folder, names: list[str]):
    """Reads the views of these tables; the draft's other ones still have unknown parts."""
    path = folder / "contract.sql"
    text = path.read_text()
    views = re.findall(r"^CREATE VIEW (\w+).*?;$", text, re.MULTILINE | re.DOTALL)
    for name in views:
        if name not in names:
            text = re.sub(rf"^CREATE VIEW {name}\b.*?;$", "", text, flags=re.MULTILINE | re.DOTALL)
    path.write_text(text)
    return read(folder).tables


@pytest.mark.parametrize(
    ("value", "sql"),
    [
        ("1433221332117", "make_timestamptz(1000 * CAST(event_time AS BIGINT))"),
        ("1433221332", "make_timestamptz(1000000 * CAST(event_time AS BIGINT))"),
        ("20180131", "strptime(event_time, '%Y%m%d')"),
        ("711", "TIMESTAMP '???-01-01' + to_days(CAST(event_time AS INTEGER))"),
        ("12/1/2010 8:26", "strptime(event_time, '%d/%m/%Y %H:%M')"),
        ("2018-12-01 07:12:45", "CAST(event_time AS TIMESTAMP)"),
        ("2018-12-01 07:12:45 UTC", "CAST(event_time AS TIMESTAMPTZ)"),
    ],
)
def test_instants_are_guessed_from_their_first_values(tmp_path, value, sql):
    (tmp_path / "sales.csv").write_text(f"customer_id,product_id,event_time\nc,p,{value}\n")
    assert f"{sql} AS event_timestamp" in write_draft(tmp_path).read_text()


def test_name_that_is_a_word_of_sql_is_quoted(tmp_path):
    (tmp_path / "sales.csv").write_text("customer_id,product_id,at\nc,p,20180131\n")
    assert "strptime(\"at\", '%Y%m%d')" in write_draft(tmp_path).read_text()


def test_kinds_of_events_that_the_contract_does_not_have_are_left_open(tmp_path):
    (tmp_path / "events.csv").write_text("visitorid,itemid,event\n1,2,view\n1,2,addtocart\n")
    draft = write_draft(tmp_path).read_text()
    assert "CASE \"event\" WHEN 'addtocart' THEN '???' ELSE \"event\" END AS event_type" in draft


def test_draft_never_replaces_a_file(tmp_path):
    with pytest.raises(SourceError, match="found none"):
        write_draft(tmp_path)
    with pytest.raises(SourceError, match="is no folder"):
        write_draft(tmp_path / "nope")
    (tmp_path / "sales.csv").write_text(SALES)
    (tmp_path / "contract.sql").write_text("mine")
    with pytest.raises(SourceError, match="is kept"):
        write_draft(tmp_path)
    assert (tmp_path / "contract.sql").read_text() == "mine"
