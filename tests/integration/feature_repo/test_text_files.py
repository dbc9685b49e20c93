"""CSV files as programs write them: read as meant where that is certain, else refused."""

import bz2
import gzip
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from feature_repo.sources import SourceError
from feature_repo.sources.files import source as files
from feature_repo.sources.files.csv_files import Stated, read_csv

PRODUCTS = "product_id,event_timestamp,name,brand\n"
TIME = "2025-01-15T12:00:00Z"


def product(number: int, name: str = "milk", brand: str = "") -> str:
    return f"p{number},{TIME},{name},{brand}\n"


@pytest.fixture
def folder(tmp_path):
    """Writes files, text or bytes, into a folder by their names."""

    def write(contents: dict[str, str | bytes]):
        for name, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            (tmp_path / name).write_bytes(data)
        return tmp_path

    return write


def read(folder, content: str | bytes, name: str = "products.csv", mapping: str = ""):
    """Returns the products of one file, and what was taken for granted."""
    batch = files.read(folder({name: content, "mapping.toml": mapping}))
    rows = batch.tables["products"].drop_columns("_row").to_pylist()
    assert batch.rejected["products"].num_rows == 0
    return rows, batch.assumed


PLAIN = PRODUCTS + product(1) + product(2, "bread", "own")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("products.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)),
        ("products.csv.bz2", bz2.compress(PLAIN.encode())),
        ("products.csv", PLAIN.encode("utf-16")),
        ("products.csv", b"\xef\xbb\xbf" + PLAIN.encode()),
        ("products.csv", PLAIN.replace(",", ";")),
        ("products.csv", PLAIN.replace(",", "\t")),
        ("products.csv", "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n")),
        ("products.csv", PLAIN.replace("product_id,", '"product_id",')),
        ("products.csv", PLAIN.replace("product_id", "Product ID").replace("brand", "BRAND")),
    ],
    ids=range(9),
)
def test_same_products_are_read_from_each_way_to_write_them(folder, name, content, tmp_path):
    found, _ = read(folder, content, name)
    (tmp_path / name).unlink()
    assert found == read(folder, PLAIN)[0]


@pytest.mark.parametrize("last", ["", product(4, '"bread"'), product(4, "bread", '"own"')])
def test_quote_that_stays_open_is_refused_with_its_row(folder, last):
    rows = PRODUCTS + product(1) + product(2, '"fresh dairy') + product(3) + last
    with pytest.raises(SourceError, match="line 3: a quote is not closed"):
        read(folder, rows)


def test_open_quote_in_the_header_of_a_large_file_is_refused(folder):
    rows = '"' + PRODUCTS + "".join(map(product, range(10_000)))
    with pytest.raises(SourceError, match="line 1: a quote is not closed"):
        read(folder, rows)


@pytest.mark.parametrize("shift", range(4))
def test_line_break_within_quotes_is_kept_on_any_border_of_a_block(tmp_path, shift):
    value = "a" * 509 + "\r\n" + "b"
    lines = "".join(f'"{n:07}{value}"\r\n' for n in range(4_200))
    path = tmp_path / "long.csv"
    path.write_bytes(("x" * (1 + shift) + "\r\n" + lines).encode())
    found = read_csv(path, Stated())[0].column(0).to_pylist()
    assert found == [f"{n:07}{value}" for n in range(4_200)]


@pytest.mark.parametrize(
    "name", ["brands", "Brand_EUR", "brand_kg", "brannd", "manufacturer_brand_x"]
)
def test_column_with_a_near_name_is_refused_unless_the_mapping_decides(folder, name):
    rows = PRODUCTS.replace("brand", name) + product(1, brand="own")
    if name == "manufacturer_brand_x":
        assert read(folder, rows)[1] == (f"products.csv: columns not read: {name}.",)
        return
    with pytest.raises(SourceError, match=f"the column '{name}' looks like brand, which no column"):
        read(folder, rows)
    mapped = read(folder, rows, mapping=f'[products]\ncolumns = {{ brand = "{name}" }}\n')
    assert mapped[0][0]["brand"] == "own" and mapped[1] == ()
    ignored = read(folder, rows, mapping=f'[products]\nignore = ["{name}"]\n')
    assert ignored[0][0]["brand"] is None


@pytest.mark.parametrize(
    "name",
    [
        "events.tsv.zip",
        "events.csv.zip",
        "event.json",
        "coupon_terms.xlsx",
        "sales.gz",
        "Events.txt",
    ],
)
def test_file_of_data_that_no_table_reads_is_refused_by_its_name(folder, name):
    with pytest.raises(SourceError, match=f"found {name};"):
        files.read(folder({"products.csv": PLAIN, name: "x"}))


def test_other_files_are_mentioned(folder):
    batch = files.read(folder({"products.csv": PLAIN, "request.json": "{}", "NOTES.md": "x"}))
    assert len(batch.assumed) == 1
    assert batch.assumed[0] == "Files that no table reads: request.json."


def test_id_in_scientific_notation_is_refused_and_a_float_one_is_whole(folder):
    with pytest.raises(SourceError, match=r"'4\.01E\+12' in row 2: in scientific notation"):
        read(folder, PRODUCTS + product(1) + f"4.01E+12,{TIME},milk,own\n")
    rows, assumptions = read(folder, PRODUCTS + f"900.0,{TIME},milk,\n901.0,{TIME},milk,\n")
    assert [row["product_id"] for row in rows] == ["900", "901"]
    assert assumptions == ("products.csv: product_id: whole numbers read without their .0.",)
    rows, _ = read(folder, PRODUCTS + f"900.0,{TIME},milk,\n901,{TIME},milk,\n")
    assert [row["product_id"] for row in rows] == ["900.0", "901"]


COUPONS = (
    "coupon_id,event_timestamp,coupon_code,campaign_id,campaign_type,audience,valid_from,valid_to\n"
)


def valid(folder, mapping: str, last: str) -> str:
    row = f"c1,2025-06-01,C1,k1,flyer,open,2025-06-02,{last}\n"
    batch = files.read(folder({"coupons.csv": COUPONS + row, "mapping.toml": mapping}))
    assert batch.rejected["coupons"].to_pylist() == []
    return batch.tables["coupons"]["valid_to"][0].as_py().isoformat()


PARIS = 'timezone = "Europe/Paris"\n'
LAST_DAY = PARIS + "[coupons]\nvalid_to_is_last_day = true\n"


@pytest.mark.parametrize(
    ("mapping", "last", "end"),
    [
        (PARIS, "2025-06-15", "2025-06-14T22:00:00+00:00"),
        (LAST_DAY, "2025-06-15", "2025-06-15T22:00:00+00:00"),
        (LAST_DAY, "2025-06-15 00:00:00", "2025-06-15T22:00:00+00:00"),
        (LAST_DAY, "2025-06-15 18:00", "2025-06-15T16:00:00+00:00"),
        (LAST_DAY, "2025-10-25", "2025-10-25T22:00:00+00:00"),
        (LAST_DAY, "2025-10-26", "2025-10-26T23:00:00+00:00"),
    ],
)
def test_last_day_counts_whole_if_the_mapping_says_so(folder, mapping, last, end):
    assert valid(folder, mapping, last) == end


@pytest.mark.parametrize(
    ("zone", "day", "begins"),
    [
        ("America/Santiago", "2025-09-07", "2025-09-07T04:00:00+00:00"),
        ("Africa/Cairo", "2025-04-25", "2025-04-24T22:00:00+00:00"),
        ("Asia/Beirut", "2025-03-30", "2025-03-29T22:00:00+00:00"),
        ("America/Havana", "2025-03-09", "2025-03-09T05:00:00+00:00"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00+00:00"),
        ("America/Sao_Paulo", "2017-10-15", "2017-10-15T03:00:00+00:00"),
        ("America/Santiago", "2025-09-07 00:00:00", "2025-09-07T04:00:00+00:00"),
        # Clocks go back from 1:00 to 0:00, so these midnights occur twice.
        ("America/Havana", "2025-11-02", "2025-11-02T04:00:00+00:00"),
        ("Atlantic/Azores", "2025-10-26", "2025-10-26T00:00:00+00:00"),
        # Clocks go back from 24:00 to 23:00 of the day before.
        ("America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00:00+00:00"),
        ("Asia/Beirut", "2025-10-26", "2025-10-25T22:00:00+00:00"),
    ],
)
def test_day_without_a_midnight_begins_with_its_first_hour(folder, zone, day, begins):
    row = f"p1,{day},milk,\n"
    batch = files.read(
        folder({"products.csv": PRODUCTS + row, "mapping.toml": f'timezone = "{zone}"\n'})
    )
    assert batch.rejected["products"].to_pylist() == []
    assert batch.tables["products"]["event_timestamp"][0].as_py().isoformat() == begins


@pytest.mark.parametrize(
    "zone", ["America/Santiago", "America/Havana", "Europe/Paris", "Asia/Beirut"]
)
@pytest.mark.parametrize("year", [2018, 2025])
def test_days_of_a_year_begin_where_the_day_before_ends(folder, zone, year):
    days = [date(year, 1, 1) + timedelta(days=one) for one in range(365)]
    rows = "".join(
        f"c{number},2017-01-01,C{number},k1,flyer,open,{day},{day}\n"
        for number, day in enumerate(days)
    )
    mapping = f'timezone = "{zone}"\n[coupons]\nvalid_to_is_last_day = true\n'
    batch = files.read(folder({"coupons.csv": COUPONS + rows, "mapping.toml": mapping}))
    begins = batch.tables["coupons"]["valid_from"].to_pylist()
    ends = batch.tables["coupons"]["valid_to"].to_pylist()
    assert ends[:-1] == begins[1:]
    assert begins == [first(day, zone) for day in days]


def first(day: date, zone: str) -> datetime:
    """The first instant of a local day, minute by minute."""
    start = datetime.combine(day, time(), UTC) - timedelta(hours=15)
    minutes = (start + timedelta(minutes=15 * one) for one in range(120))
    return next(one for one in minutes if one.astimezone(ZoneInfo(zone)).date() == day)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("[products]\nignore = 3\n", "products.ignore should be a list of texts"),
        ("[coupons]\nvalid_to_is_last_day = 1\n", "valid_to_is_last_day should be true or false"),
        ("[products]\nvalid_to_is_last_day = true\n", "is not in the contract"),
    ],
)
def test_wrong_value_in_the_mapping_is_named(folder, mapping, message):
    with pytest.raises(SourceError, match=message):
        read(folder, PLAIN, mapping=mapping)
