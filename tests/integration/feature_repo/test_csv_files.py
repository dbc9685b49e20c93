"""CSV files as they come: quotes, line ends, compression, encodings and delimiters."""

import bz2
import csv
import gzip
import io
import lzma

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.sources import SourceError
from feature_repo.sources.files import source as files
from feature_repo.sources.files.csv_files import Stated, read_csv

HEAD = "product_id,event_timestamp,name\n"
ROW = "p{},2025-01-15T12:00:00Z,{}\n"


def product(number: int, name: str) -> str:
    return ROW.format(number, name)


def products(folder, content: str | bytes, name: str = "products.csv", mapping: str = ""):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "mapping.toml").write_text(mapping)
    return files.read(folder)


def names(batch) -> list:
    return batch.tables["products"]["name"].to_pylist()


def refusal(folder, content: str | bytes, **options) -> str:
    with pytest.raises(SourceError) as refused:
        products(folder, content, **options)
    message = str(refused.value)
    assert "\n" not in message and message.endswith(".")
    return message


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([product(1, "milk"), product(2, '"fresh dairy'), product(3, "x"), product(4, "y")], 3),
        ([product(1, '"open'), product(2, "x"), product(3, '"closed"')], 2),
        ([product(1, '"open'), product(2, '""'), product(3, "x")], 2),
        ([product(1, "x"), product(2, '"open').rstrip()], 3),
        ([product(1, '"a ""b"""'), product(2, '"two\nlines"'), product(3, '"open')], 5),
        # The third row ends with a lone quote, which closes the value that begins in the second.
        ([product(1, "x"), product(2, '"open'), product(3, '"')], 3),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quote_that_is_not_closed_is_refused_with_its_line(tmp_path, rows, line, end):
    text = (HEAD + "".join(rows)).replace("\n", end)
    message = refusal(tmp_path, text)
    assert f"products.csv, line {line}: a quote is not closed" in message


def test_quote_that_is_not_closed_far_up_in_a_large_file_is_refused(tmp_path):
    rows = [product(number, "fresh milk") for number in range(40_000)]
    rows[7] = product(7, '"fresh milk')
    assert "products.csv, line 9: a quote is not closed" in refusal(tmp_path, HEAD + "".join(rows))


def test_header_that_begins_with_an_open_quote_is_refused(tmp_path):
    rows = "".join(product(number, "milk") for number in range(10_000))
    assert len(rows) > 2 * 131_072
    assert "products.csv, line 1: a quote is not closed" in refusal(tmp_path, '"' + HEAD + rows)


def test_quotes_within_an_unquoted_value_and_doubled_quotes_are_text(tmp_path):
    batch = products(tmp_path, HEAD + product(1, '5" pipe') + product(2, '"a ""b"", c"'))
    assert names(batch) == ['5" pipe', 'a "b", c']


def test_row_with_too_many_or_too_few_values_is_refused_with_its_line(tmp_path):
    two = HEAD + product(1, '"two\nlines"') + "p2,2025-01-15T12:00:00Z\n"
    assert "line 4: expected 3 values as in the header, found 2" in refusal(tmp_path, two)
    four = HEAD + product(1, "a,b")
    assert "line 2: expected 3 values as in the header, found 4" in refusal(tmp_path, four)


def test_blank_lines_are_no_rows(tmp_path):
    batch = products(tmp_path, "\n" + HEAD + "\n" + product(1, "a") + "\n\n" + product(2, "b"))
    assert names(batch) == ["a", "b"]


def test_line_ends_of_an_old_mac_are_read(tmp_path):
    text = (HEAD + product(1, "a") + product(2, "b")).replace("\n", "\r")
    assert names(products(tmp_path, text)) == ["a", "b"]


@pytest.mark.parametrize("shift", range(-3, 4))
@pytest.mark.parametrize("block", [1, 2])
def test_line_break_within_quotes_on_the_border_of_a_block_stays(tmp_path, shift, block):
    start = (HEAD + "p1,2025-01-15T12:00:00Z,").encode() + b'"'
    inner = b"x" * (block * (1 << 20) - len(start) + shift) if block == 1 else b""
    if block == 2:
        filler = "".join(product(number, "y" * 1_000) for number in range(2, 2_000)).encode()
        filler = filler[: filler.rindex(b"\n", 0, (2 << 20) - 2_000) + 1]
        start = HEAD.encode() + filler + b'p1,2025-01-15T12:00:00Z,"'
        inner = b"x" * ((2 << 20) - len(start) + shift)
    name = "x\r\n" * 3
    text = start + (inner[:1_000] if block == 1 else inner) + name.encode() + b'"\r\n'
    (name_read,) = [
        row["name"]
        for row in products(tmp_path, text).tables["products"].to_pylist()
        if row["product_id"] == "p1"
    ]
    assert name_read.endswith(name)


def test_every_block_size_reads_the_same_values(tmp_path, monkeypatch):
    from feature_repo.sources.files import csv_files

    text = HEAD + "".join(product(n, f'"a\r\n\r{"b" * (n % 7)}\r\n"') for n in range(300))
    path = tmp_path / "products.csv"
    path.write_bytes(text.encode())
    expected = list(csv.reader(io.StringIO(text, newline="")))[1:]
    whole = pa.csv.ReadOptions
    for size in (101, 128, 333, 1_000):
        monkeypatch.setattr(
            pa.csv, "ReadOptions", lambda size=size, **options: whole(block_size=size, **options)
        )
        rows, _ = csv_files.read_csv(path, Stated())
        assert rows["name"].to_pylist() == [row[2] for row in expected]


VALUES = st.text(st.sampled_from('ab",;\r\n é€0'), max_size=8)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_what_a_csv_writer_writes_is_read_or_refused_but_never_read_as_other(
    tmp_path_factory, rows, end
):
    path = tmp_path_factory.mktemp("csv") / "products.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerow(["one", "two"])
        writer.writerows(rows)
    try:
        read, _ = read_csv(path, Stated())
    except SourceError as error:
        assert "holds whole rows" in str(error)
        return
    expected = [[one or None, two or None] for one, two in rows]
    assert [list(row) for row in zip(*read.to_pydict().values(), strict=True)] == expected


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_files_are_read_and_damaged_ones_refused(tmp_path, suffix, compress):
    content = compress((HEAD + product(1, "milk") * 500).encode())
    name = f"products.csv{suffix}"
    assert names(products(tmp_path, content, name))[:1] == ["milk"]
    for broken in (content[:-9], b"no " + content, content[:40] + b"\0" * 20 + content[60:]):
        assert f"{name} cannot be read" in refusal(tmp_path, broken, name=name)


def test_zstandard_is_read(tmp_path):
    content = pa.Codec("zstd").compress((HEAD + product(1, "milk")).encode(), asbytes=True)
    assert names(products(tmp_path, content, "products.csv.zst")) == ["milk"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiter_of_the_header_is_taken_and_named(tmp_path, delimiter):
    text = (HEAD + product(1, "milk") + product(2, "a;b")).replace(",", delimiter)
    batch = products(tmp_path, text.replace("a;b", '"a;b,c"'))
    assert names(batch) == ["milk", "a;b,c"]
    assert any("values are separated by" in note for note in batch.assumed)


def test_file_with_tabs_by_its_name_is_read(tmp_path):
    text = (HEAD + product(1, "a|b")).replace(",", "\t").replace("|", ", ")
    assert names(products(tmp_path, text, "products.tsv")) == ["a, b"]


def test_separator_line_of_a_spreadsheet_is_read(tmp_path):
    text = "sep=;\n" + (HEAD + product(1, '"two\nlines"') + product(2, "b")).replace(",", ";")
    assert names(products(tmp_path, text)) == ["two\nlines", "b"]


def test_delimiter_of_the_mapping_wins(tmp_path):
    text = (HEAD + product(1, "milk")).replace(",", "|")
    batch = products(tmp_path, text, mapping='[products]\ndelimiter = "|"')
    assert names(batch) == ["milk"] and batch.assumed == ()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_encoding_of_a_byte_order_mark_is_read(tmp_path, encoding):
    text = HEAD + product(1, '"Käse €\r\n2"') + product(2, "b")
    assert names(products(tmp_path, text.encode(encoding))) == ["Käse €\r\n2", "b"]


def test_other_encoding_is_refused_with_its_line_unless_the_mapping_states_it(tmp_path):
    text = (HEAD + product(1, "milk") + product(2, "Käse €")).encode("cp1252")
    message = refusal(tmp_path, text)
    assert message.endswith(
        "products.csv, line 3: expected UTF-8, found the byte 0xE4; state the encoding of the file "
        'in mapping.toml, as in encoding = "cp1252".'
    )
    batch = products(tmp_path, text, mapping='encoding = "cp1252"')
    assert names(batch) == ["milk", "Käse €"] and batch.assumed == ()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_refused_unless_the_mapping_states_it(tmp_path, encoding):
    text = (HEAD + product(1, "Käse")).encode(encoding)
    assert "zero bytes, as UTF-16 has" in refusal(tmp_path, text)
    assert names(products(tmp_path, text, mapping=f'encoding = "{encoding}"')) == ["Käse"]
