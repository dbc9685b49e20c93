"""Data Docs on disk: complete, linked, and readable without a network."""

import os
import re

import pytest

from feature_repo.contract import TABLES
from tests.support.validation_batches import AS_OF, batch, good_rows
from validation.check import check
from validation.docs import write_docs

# Great Expectations itself imports a module that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")

LINK = re.compile(r'(?:href|src)="([^"#]+)"')


def test_index_links_to_a_page_of_every_table(tmp_path):
    index = write_docs(check(batch(good_rows()), {}, AS_OF), tmp_path / "docs", AS_OF)
    linked = set(LINK.findall(index.read_text()))
    assert index == tmp_path / "docs" / "index.html"
    assert linked >= {f"{name}.html" for name in TABLES} | {f"{name}_suite.html" for name in TABLES}


def test_links_of_all_pages_lead_to_files_in_the_folder(tmp_path):
    write_docs(check(batch(good_rows()), {}, AS_OF), tmp_path, AS_OF)
    for page in tmp_path.iterdir():
        text = page.read_text()
        assert "<script" not in text and "http" not in text, page.name
        assert {link for link in LINK.findall(text) if not (tmp_path / link).exists()} == set()


def test_failing_rule_and_its_value_are_on_the_page(tmp_path):
    rows = good_rows()["users"]
    rows[1] |= {"age_min": 4321, "user_id": "<b>u1</b>"}
    rows.append(rows[0] | {"age_min": 31})
    write_docs(check(batch({"users": rows}), {}, AS_OF), tmp_path, AS_OF)
    page = (tmp_path / "users.html").read_text()
    assert "4321.0" in page and "Failed" in page
    assert "Rows with the same user_id, created_timestamp must have the same content." in page
    assert "<b>u1</b>" not in page
    index = (tmp_path / "index.html").read_text()
    assert "<td>4</td><td>1</td><td>0</td><td>3</td>" in index


def test_table_that_is_not_in_the_batch_keeps_its_suite_and_loses_its_old_results(tmp_path):
    write_docs(check(batch(good_rows()), {}, AS_OF), tmp_path, AS_OF)
    write_docs(check(batch({"users": good_rows()["users"]}), {}, AS_OF), tmp_path, AS_OF)
    assert (tmp_path / "users.html").exists()
    assert not (tmp_path / "events.html").exists()
    assert "<td>events</td>" in (tmp_path / "index.html").read_text()
    assert (tmp_path / "events_suite.html").exists()


def test_files_are_written_only_into_the_given_folder(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setenv("HOME", str(elsewhere))
    monkeypatch.setattr("tempfile.tempdir", None)
    write_docs(check(batch(good_rows()), {}, AS_OF), tmp_path / "docs", AS_OF)
    assert os.listdir(elsewhere) == []
