"""Folders that cannot be read: each is refused with one sentence that names the fault."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.sources import SourceError
from feature_repo.sources.files import source as files

GOOD = "user_id,event_timestamp\nu1,2025-01-15T12:00:00Z\n"


def write(folder, **contents):
    for name, content in contents.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def refusal(folder, **options) -> str:
    with pytest.raises(SourceError) as refused:
        files.read(folder, **options)
    message = str(refused.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_error_for_a_missing_column_names_its_file_and_the_existing_columns(tmp_path):
    message = refusal(write(tmp_path, users__csv="user,event_timestamp\nu1,2025-01-15\n"))
    assert message == (
        f"{tmp_path / 'users.csv'}: the table users needs the column user_id; the file has user, "
        "event_timestamp. Add it, or map it in mapping.toml."
    )


def test_error_names_a_mapped_column_that_the_file_lacks(tmp_path):
    mapping = '[users]\ncolumns = { age_min = "age" }'
    message = refusal(write(tmp_path, users__csv=GOOD, mapping__toml=mapping))
    assert "users.csv: the table users needs the column age (mapped to age_min)" in message


@pytest.mark.parametrize("content", ["", "user_id,event_timestamp\n", "\n"])
def test_empty_file_is_refused(tmp_path, content):
    message = refusal(write(tmp_path, users__csv=content))
    assert "users.csv" in message
    assert any(word in message for word in ("is empty", "has no rows", "cannot be read"))


def test_empty_parquet_table_is_refused(tmp_path):
    columns = {"user_id": pa.array([], pa.string())}
    pq.write_table(pa.table(columns), tmp_path / "users.parquet")
    assert "users.parquet has no rows; fill it or remove it" in refusal(tmp_path)


def test_corrupt_parquet_file_is_refused(tmp_path):
    pq.write_table(pa.table({"user_id": ["u1"] * 1000}), tmp_path / "users.parquet")
    whole = (tmp_path / "users.parquet").read_bytes()
    for broken in (whole[:-20], whole[: len(whole) // 2], b"PAR1" + b"\0" * 100, b"no parquet"):
        message = refusal(write(tmp_path, users__parquet=broken))
        assert "users.parquet cannot be read as Parquet" in message


def test_parquet_file_whose_pages_are_damaged_is_refused(tmp_path):
    ids = [f"user number {number}" for number in range(5000)]
    pq.write_table(pa.table({"user_id": ids}), tmp_path / "users.parquet", compression="gzip")
    content = bytearray((tmp_path / "users.parquet").read_bytes())
    content[200:1200] = bytes(1000)
    message = refusal(write(tmp_path, users__parquet=bytes(content)))
    assert "users.parquet cannot be read as Parquet" in message


@pytest.mark.parametrize("where", ["header", "value"])
def test_csv_that_is_not_utf_8_is_refused(tmp_path, where):
    text = GOOD.replace("u1", "Zoë") if where == "value" else GOOD.replace("user", "usér")
    message = refusal(write(tmp_path, users__csv=text.encode("latin-1")))
    line = 2 if where == "value" else 1
    assert f"users.csv, line {line}: expected UTF-8, found the byte 0x" in message


def test_error_for_a_csv_row_with_too_few_values_has_its_number(tmp_path):
    message = refusal(write(tmp_path, users__csv=f"{GOOD}u2\n"))
    assert "users.csv, line 3: expected 2 values as in the header, found 1" in message


def test_repeated_column_is_refused(tmp_path):
    message = refusal(write(tmp_path, users__csv="user_id,user_id,event_timestamp\n1,2,3\n"))
    assert "users.csv has the column user_id more than once" in message


def test_two_files_for_one_table_are_refused(tmp_path):
    pq.write_table(pa.table({"user_id": ["u1"]}), tmp_path / "users.parquet")
    message = refusal(write(tmp_path, users__csv=GOOD))
    assert message == f"Both users.parquet and users.csv are in {tmp_path}; keep one."


def test_file_of_no_table_is_refused(tmp_path):
    message = refusal(write(tmp_path, users__csv=GOOD, event__csv=GOOD))
    assert "found event.csv; the tables are users, products," in message


def test_folder_without_tables_and_a_path_that_is_no_folder_are_refused(tmp_path):
    assert "found none; the tables are users" in refusal(tmp_path)
    assert "is no folder" in refusal(tmp_path / "nowhere")
    assert "is no folder" in refusal(write(tmp_path, users__csv=GOOD) / "users.csv")


def test_file_that_changes_while_it_is_read_is_refused(tmp_path):
    write(tmp_path, users__csv=GOOD)

    def read_and_append(path, stated):
        rows = files.read_file(path, stated)
        path.write_text(f"{GOOD}u2,2025-01-15T12:00:00Z\n")
        return rows

    message = refusal(tmp_path, reader=read_and_append)
    assert "users.csv changed while it was read; ingest again when it is complete" in message


def test_file_that_is_replaced_by_one_of_the_same_size_is_refused(tmp_path):
    write(tmp_path, users__csv=GOOD)

    def read_and_replace(path, stated):
        rows = files.read_file(path, stated)
        write(tmp_path, new=GOOD.replace("u1", "u2"))
        (tmp_path / "new").rename(path)
        return rows

    assert "changed while it was read" in refusal(tmp_path, reader=read_and_replace)


def test_file_that_is_removed_during_the_read_is_refused(tmp_path):
    write(tmp_path, users__csv=GOOD)

    def read_and_remove(path, stated):
        rows = files.read_file(path, stated)
        path.unlink()
        return rows

    assert "was removed while" in refusal(tmp_path, reader=read_and_remove)


def test_part_that_appears_while_the_folder_is_read_is_refused(tmp_path):
    (tmp_path / "users").mkdir()
    write(tmp_path / "users", one__csv=GOOD)

    def read_and_add(path, stated):
        write(path.parent, two__csv=GOOD)
        return files.read_file(path, stated)

    assert "changed while it was read" in refusal(tmp_path, reader=read_and_add)


def test_parts_with_other_columns_or_of_two_kinds_are_refused(tmp_path):
    (tmp_path / "users").mkdir()
    write(tmp_path / "users", one__csv=GOOD, two__csv=GOOD.replace("user_id", "user"))
    assert "have different columns or types; write" in refusal(tmp_path)
    (tmp_path / "users" / "two.csv").rename(tmp_path / "users" / "two.parquet")
    assert "of one kind in the folder" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("user_id", [1.5], "users.user_id should be text, but its column in the file has the type"),
        ("age_min", [True], "users.age_min should be a whole number"),
        ("age_min", [b"x"], "has the type binary"),
        ("event_timestamp", [1736942400], "users.event_timestamp should be an instant"),
        ("is_married", [1.0], "users.is_married should be true or false"),
        ("age_min", [[1]], "users.age_min should be a whole number"),
    ],
)
def test_column_of_a_type_that_cannot_hold_its_values_is_refused(tmp_path, column, values, words):
    good = {"user_id": ["u1"], "event_timestamp": ["2025-01-15T12:00:00Z"]}
    pq.write_table(pa.table(good | {column: values}), tmp_path / "users.parquet")
    assert words in refusal(tmp_path)


def test_parquet_times_without_a_zone_are_refused_without_a_mapping(tmp_path):
    columns = {"user_id": ["u1"], "event_timestamp": pa.array([0], pa.timestamp("us"))}
    pq.write_table(pa.table(columns), tmp_path / "users.parquet")
    message = refusal(tmp_path)
    assert "users.event_timestamp has times without a zone (timestamp[us])" in message
    assert 'timezone = "Europe/Paris"' in message


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ("timezone = ", "is not valid TOML"),
        (b"timezone = '\xe9'", "is not valid TOML"),
        ('zone = "UTC"', "zone is not in the contract"),
        ('[user]\nfile = "users.csv"', "user is not in the contract"),
        ("[users]\nrename = {}", "users.rename is not in the contract"),
        ('[users]\ncolumns = { id = "a" }', "users.columns.id is not in the contract"),
        ("[users]\nconstants = { age = 3 }", "users.constants.age is not in the contract"),
        ("users = 3", "users should be a table"),
        ('[users]\ncolumns = "a"', "users.columns should be like"),
        ("[users]\ncolumns = { age_min = 3 }", "users.columns.age_min should be a column's name"),
        ("[users]\nconstants = { age_min = [3] }", "users.constants.age_min should be a text"),
        ("[users]\nfile = 3", "users.file should be the name of a file"),
        ('[users]\nfile = "people.csv"', "for users; expected a .csv or .parquet file"),
        ('[users]\nfile = "mapping.toml"', "expected a .csv or .parquet file"),
        ('[events]\ncolumns = { user_id = "card" }', "mapping.toml describes events, but"),
        ('timezone = "Paris"', "timezone should be a name like Europe/Paris, got 'Paris'"),
        ('timezone = "Europe"', "timezone should be a name like Europe/Paris, got 'Europe'"),
        ("timezone = 3", "timezone should be a name like Europe/Paris, got 3"),
        ('money = "cents"', "money should be minor or major, got 'cents'"),
        (
            '[users]\ncolumns = { age_min = "a" }\nconstants = { age_min = 3 }',
            "users.age_min is both in columns and in constants",
        ),
        (
            '[users]\nconstants = { age_min = "old" }',
            "the constant users.age_min should be a whole number, got 'old'",
        ),
        (
            '[users]\nconstants = { event_timestamp = "2025-01-01" }',
            "the constant users.event_timestamp should be an instant with its zone",
        ),
    ],
)
def test_wrong_mapping_is_refused(tmp_path, mapping, words):
    message = refusal(write(tmp_path, users__csv=GOOD, mapping__toml=mapping))
    assert words in message and "mapping.toml" in message


@pytest.mark.parametrize(
    "name",
    [
        "events__json",
        "sales__xlsx",
        "coupon_terms__csv__zip",
        "Coupon-Terms__txt",
        "event__csv__old",
    ],
)
def test_files_that_may_hold_rows_of_a_table_are_refused(tmp_path, name):
    message = refusal(write(tmp_path, users__csv=GOOD, **{name: "x"}))
    assert f"found {name.replace('__', '.')}; the tables are" in message


def test_files_that_hold_no_rows_are_named_as_not_read(tmp_path):
    write(tmp_path, users__csv=GOOD, README__md="x", request__json="{}")
    assert files.read(tmp_path).assumed == ("Files that no table reads: request.json.",)


def test_folders_within_a_folder_of_parts_are_refused(tmp_path):
    (tmp_path / "users" / "day=1").mkdir(parents=True)
    write(tmp_path / "users", one__csv=GOOD)
    write(tmp_path / "users" / "day=1", two__csv=GOOD)
    assert "of one kind in the folder" in refusal(tmp_path)
