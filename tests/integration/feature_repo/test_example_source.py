"""The example shop in tests/example, read as a folder of files."""

import importlib.util
import shutil
import sys

import pyarrow.compute as pc
import pytest

from feature_repo.contract import DISCOUNT_TYPES, TABLES
from feature_repo.lake.duckdb_files import query
from feature_repo.sources.files import source as files
from tests.support.places import EXAMPLE


@pytest.fixture(scope="module")
def batch():
    return files.read(EXAMPLE)


def test_all_rows_of_the_example_are_read(batch):
    assert list(batch.tables) == list(TABLES)
    assert all(rejected.num_rows == 0 for rejected in batch.rejected.values())
    sizes = {name: table.num_rows for name, table in batch.tables.items()}
    assert sizes["users"] == 40 and sizes["products"] == 60 and sizes["coupons"] == 12
    assert 2_000 < sizes["events"] < 8_000 and sizes["redemptions"] > 50


def test_child_rows_have_their_parents(batch):
    for name, table in TABLES.items():
        for parent in table.parents:
            known = batch.tables[parent.table][parent.parent_column]
            ids = pc.drop_null(batch.tables[name][parent.column])
            assert pc.all(pc.is_in(ids, value_set=known)).as_py(), (name, parent)


def test_example_has_every_kind_of_coupon_and_one_open_campaign(batch):
    coupons = batch.tables["coupons"]
    assert set(coupons["discount_type"].to_pylist()) == set(DISCOUNT_TYPES)
    open_ones = coupons.filter(pc.equal(coupons["audience"], "open"))
    assert set(open_ones["campaign_id"].to_pylist()) == {"summer"}
    last = pc.max(batch.tables["events"]["event_timestamp"])
    assert pc.sum(pc.greater(coupons["valid_to"], last)).as_py() == 8


def test_redemptions_are_valid_within_the_limit_and_for_the_users_exposed(batch):
    found = query(
        "SELECT r.redemption_id FROM r JOIN c USING (coupon_id) "
        "LEFT JOIN x ON x.user_id = r.user_id AND x.campaign_id = c.campaign_id "
        "WHERE r.event_timestamp < c.valid_from OR r.event_timestamp >= c.valid_to "
        "OR (c.audience = 'targeted' AND x.exposure_id IS NULL) "
        "UNION ALL "
        "SELECT min(r.redemption_id) FROM r JOIN c USING (coupon_id) "
        "GROUP BY r.user_id, r.coupon_id, per_user_limit HAVING count(*) > per_user_limit",
        r=batch.tables["redemptions"],
        c=batch.tables["coupons"],
        x=batch.tables["exposures"],
    )
    assert found.num_rows == 0


def test_script_of_the_example_writes_the_same_files(batch, tmp_path):
    shutil.copy(EXAMPLE / "mapping.toml", tmp_path)
    script().make(tmp_path)
    again = files.read(tmp_path)
    for name, table in batch.tables.items():
        assert again.tables[name].equals(table), name


def script():
    spec = importlib.util.spec_from_file_location("example_shop", EXAMPLE / "make.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
