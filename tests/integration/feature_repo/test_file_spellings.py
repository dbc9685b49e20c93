"""Values that a file writes in another way than the contract: read where certain, else refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.sources.files import source as files

EVENTS = "event_id,event_timestamp,user_id,event_type,basket_id,quantity\n"


@pytest.fixture
def read(tmp_path):
    """Reads one table from the text of a CSV, or from Parquet columns."""

    def read(content, mapping: str = "", table: str = "events"):
        (tmp_path / "mapping.toml").write_text(mapping)
        if isinstance(content, str):
            (tmp_path / f"{table}.csv").write_text(content)
        else:
            pq.write_table(pa.table(content), tmp_path / f"{table}.parquet")
        return files.read(tmp_path)

    return read


def rows(batch, table: str = "events") -> list[dict]:
    return batch.tables[table].to_pylist()


def reasons(batch, table: str = "events") -> list[str]:
    return batch.rejected[table]["reason"].to_pylist()


def event(basket: str, user: str = "u1", quantity: str = "1", number: int = 1) -> str:
    return f"e{number},2025-01-15T12:00:00Z,{user},purchase,{basket},{quantity}\n"


@pytest.mark.parametrize(
    "word",
    ["NULL", "NA", "N/A", "None", "nan", "NaN", "\\N", "-", "null", "#N/A", '" NA "', "   ", '""'],
)
def test_words_for_null_in_texts_and_ids_are_null(read, word):
    batch = read(EVENTS + event(word) + event("b7", word, number=2))
    assert [row["basket_id"] for row in rows(batch)] == [None, "b7"]
    assert [row["user_id"] for row in rows(batch)] == ["u1", None]
    if word != '""':
        shown = word.strip('" ') or "blanks"
        assert f"events.csv: basket_id: {shown} in 1 rows read as null." in batch.assumed


def test_text_that_only_contains_a_word_for_null_stays(read):
    batch = read(EVENTS + event("NAN-7") + event("none of it", number=2) + event("A-", number=3))
    assert [row["basket_id"] for row in rows(batch)] == ["NAN-7", "none of it", "A-"]
    assert batch.assumed == ()


def test_words_for_null_in_parquet_texts_and_categories_are_null(read):
    content = {
        "event_id": ["e1", "e2"],
        "event_timestamp": ["2025-01-15T12:00:00Z"] * 2,
        "user_id": pa.array(["u1", "nan"]).dictionary_encode(),
        "event_type": ["purchase"] * 2,
        "basket_id": pa.array(["None", "b2"], pa.large_string()),
    }
    found = rows(read(content))
    assert [row["user_id"] for row in found] == ["u1", None]
    assert [row["basket_id"] for row in found] == [None, "b2"]


@pytest.mark.parametrize("word", ["NA", "NULL", "-", "nan", "None"])
def test_word_for_null_in_a_number_is_refused_unless_the_mapping_states_it(read, word):
    refused = read(EVENTS + event("b1", quantity=word))
    assert rows(refused) == []
    assert reasons(refused) == [
        f"events row 1: quantity should be a whole number, got '{word}' (if it means no value, set "
        f'nulls = ["{word}"] in mapping.toml).'
    ]
    stated = read(EVENTS + event("b1", quantity=word), f"nulls = ['{word}']")
    assert [row["quantity"] for row in rows(stated)] == [None]


def test_words_of_the_mapping_replace_the_usual_ones(read):
    batch = read(EVENTS + event("NA") + event("nix", number=2), 'nulls = ["nix"]')
    assert [row["basket_id"] for row in rows(batch)] == ["NA", None]


def test_column_that_is_stated_as_it_is_keeps_its_words(read):
    batch = read(EVENTS + event("NA"), '[events]\nas_is = ["basket_id"]')
    assert [row["basket_id"] for row in rows(batch)] == ["NA"] and batch.assumed == ()
