"""``clipwise features diff`` between two lake versions, and between offline and online."""

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from feature_repo.lake.reader import Lake
from feature_repo.publication.publish import published
from flows.cli.main import app, main
from flows.compare.comparison import DiffError, Selection
from flows.compare.features import diff_online, diff_versions
from tests.support.feature_logs import DAY, START, WATERMARK, land, moment

# Feast warns while it is imported; we cannot change its code.
pytestmark = pytest.mark.filterwarnings("default")

T = START + 40 * DAY + DAY // 2
"""The watermark of the first two versions; that of the third is later."""


def row(since: int, **values) -> dict:
    return {"event_timestamp": START + since, "created_timestamp": START + since} | values


def purchase(name: str, since: int, user: str = "u1", product: str = "p1", **values) -> dict:
    what = {"event_id": name, "user_id": user, "product_id": product, "event_type": "purchase"}
    return row(since, quantity=1, amount=250, basket_id=name, **what) | values


def coupon(name: str) -> dict:
    campaign, code = name.split(":")
    return row(
        DAY,
        coupon_id=name,
        coupon_code=code,
        campaign_id=campaign,
        audience="open",
        valid_from=START + 2 * DAY,
        valid_to=START + 90 * DAY,
    )


SHOP = {
    "users": [row(0, user_id=name, age_min=30) for name in ("u1", "u2", "u3")],
    "products": [row(0, product_id=name, brand="b1") for name in ("p1", "p2")],
    "coupons": [coupon("A:x"), coupon("B:y")],
    "coupon_products": [row(DAY, coupon_id="A:x", product_id="p1")],
    "exposures": [row(3 * DAY, exposure_id="x1", user_id="u2", campaign_id="A")],
    "events": [purchase("e1", 35 * DAY), purchase("e2", 36 * DAY, "u2", "p2")],
    "redemptions": [row(4 * DAY, redemption_id="r1", user_id="u2", coupon_id="A:x")],
}
LATE = {"events": [purchase("late", 39 * DAY + 5, product="p2", coupon_discount=40)]}
"""The second version: an event from before T that landed after it."""

NEW = {
    "products": [row(2 * DAY, product_id="p9")],
    "events": [purchase("learned-late", 39 * DAY, created_timestamp=T)],
    "users": [row(41 * DAY, user_id="u9")],
}
"""The third version: an old product that lands late, and rows learned or happened from T on."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A shop with three versions and their features; nothing is online."""
    home = tmp_path_factory.mktemp("shop")
    for log, watermark in ((SHOP, T), (LATE, T), (NEW, WATERMARK)):
        published(Lake(home), land(home, log, watermark))
    return home


@pytest.fixture
def home(shop, tmp_path, monkeypatch):
    """A copy of the shop that a test may change."""
    home = tmp_path / "home"
    shutil.copytree(shop, home)
    monkeypatch.setenv("CLIPWISE_HOME", str(home))
    return home


def remove_versions(home, *versions: int) -> None:
    """Takes the newest versions out of the lake."""
    for version in versions:
        Lake(home).state_path(version).unlink()


def materialize(until: int, *views: str) -> None:
    from flows.materialize import apply

    apply().materialize(moment(START), moment(until), list(views) or None)


def compared(*arguments: str):
    """The command's exit code and its output, without the progress."""
    done = CliRunner().invoke(app, ["features", "diff", *arguments], env={"COLUMNS": "120"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


def refused(monkeypatch, capsys, *arguments: str) -> str:
    """The error that the whole command line prints before it exits with 2."""
    monkeypatch.setattr("sys.argv", ["clipwise", "features", "diff", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err.split("Error: ", 1)[1]


def features_of(found, kind: str, one: str, view: str) -> dict:
    return {
        row.feature: (row.left, row.right)
        for row in found.differences
        if (row.kind, row.id, row.view) == (kind, one, view)
    }


def test_late_row_changes_only_its_user_and_its_product(home):
    found = diff_versions(1, 2, None, Selection())
    assert found.as_of == [moment(T)]
    assert found.compared == {"user": 3, "product": 2, "coupon": 2}
    assert {(row.kind, row.id) for row in found.differences} == {("user", "u1"), ("product", "p2")}
    stats = features_of(found, "user", "u1", "user_purchase_stats")
    assert stats["purchase_count_7d"] == (1, 2) and stats["spend_90d"] == (250, 500)
    assert stats["last_purchase_timestamp"] == (START + 35 * DAY, START + 39 * DAY + 5)
    assert "retail_discount_7d" not in stats
    history = features_of(found, "user", "u1", "user_purchase_history")
    assert history["history_product_ids"] == (["p1"], ["p2", "p1"])
    assert features_of(found, "product", "p2", "product_sales_stats")["buyer_count_all"] == (1, 2)


def test_versions_agree_as_of_an_instant_before_the_late_row(home):
    selection = Selection(["user_purchase_stats", "user_recent_purchases"])
    before, after = (moment(START + 39 * DAY + part).isoformat() for part in (5, 6))
    assert diff_versions(1, 2, before, selection).differences == []
    assert diff_versions(1, 2, after, selection).differences


def test_row_learned_after_the_earlier_watermark_is_no_difference(home):
    code, output = compared("--from", "2", "--to", "3", "--user", "u1", "--user", "u2")
    assert code == 0
    assert "Version 2 and version 3 agree" in output and "for 2 users." in output


def test_without_versions_the_current_one_is_compared_with_the_one_before(home):
    found = diff_versions(None, None, None, Selection())
    assert (found.left, found.right) == ("version 2", "version 3")


def test_swapped_versions_swap_the_values(home):
    selection = Selection(["user_purchase_stats"])
    forward, back = diff_versions(1, 2, None, selection), diff_versions(2, 1, None, selection)
    assert (back.left, back.right) == ("version 2", "version 1")
    swapped = [(row.id, row.feature, row.right, row.left) for row in back.differences]
    assert swapped == [(row.id, row.feature, row.left, row.right) for row in forward.differences]


def test_entity_of_one_version_only_is_one_difference_in_every_view(home):
    found = diff_versions(2, 3, None, Selection())
    assert [(r.kind, r.id, r.feature, r.left, r.right) for r in found.differences] == [
        ("product", "p9", "known", False, True)
    ]
    code, output = compared("--product", "p1", "--product", "p9")
    assert code == 1
    assert output.count("on one side only (1)") == 2
    assert "in 1 of 2 products." in output


def test_only_named_views_and_entities_are_compared(home):
    selection = Selection(["user_purchase_stats"], {"user": ["u1", "u2"]})
    found = diff_versions(1, 2, None, selection)
    assert found.compared == {"user": 2}
    assert {(row.id, row.view) for row in found.differences} == {("u1", "user_purchase_stats")}


def test_sample_has_the_requested_size_and_the_output_names_the_population(home):
    few = ("--from", "2", "--to", "3", "--view", "user_demographics", "--entities")
    first, again = compared(*few, "1"), compared(*few, "1")
    assert first == again and "for 1 user, sampled from 3 users, " in first[1]
    assert "for 3 users." in compared(*few, "3")[1]


def test_sample_of_two_versions_takes_changed_entities_first(home):
    views = ["user_purchase_stats", "product_sales_stats"]
    for seed in range(4):
        found = diff_versions(1, 2, None, Selection(views, count=1, seed=seed))
        assert {row.id for row in found.differences} == {"u1", "p2"}


def test_online_store_agrees_with_history_after_a_materialization(home):
    remove_versions(home, 2, 3)
    materialize(T)
    found = diff_online(Selection())
    assert found.differences == [] and len(found.views) == 14
    code, output = compared("--online")
    assert code == 0 and "Offline and online agree" in output


def test_row_that_is_not_online_yet_differs(home):
    materialize(T)
    late = {"users": [row(DAY, user_id="u4", age_min=20), row(0, user_id="u2", age_min=31)]}
    late["users"][1]["created_timestamp"] = START + DAY
    land(home, late, WATERMARK)
    selection = Selection(["user_demographics", "user_exposure_stats"])
    found = diff_online(selection)
    assert [(r.id, r.feature, r.left, r.right) for r in found.differences] == [
        ("u2", "age_min", 31, 30),
        ("u4", "known", True, False),
    ]
    materialize(T)
    assert diff_online(selection).differences == []


def test_wrong_value_online_is_found(home):
    from flows.materialize import feature_store

    materialize(T)
    store = feature_store()
    fields = [field.name for field in store.get_feature_view("user_demographics").features]
    spoiled = dict.fromkeys(fields) | {"user_id": "u2", "age_min": 31}
    spoiled |= dict.fromkeys(("event_timestamp", "created_timestamp"), moment(T))
    store.write_to_online_store("user_demographics", pd.DataFrame([spoiled]))
    found = diff_online(Selection())
    assert [(r.id, r.feature, r.left, r.right) for r in found.differences] == [
        ("u2", "age_min", 30, 31)
    ]


def test_each_view_is_compared_as_of_its_last_materialization(home):
    materialize(START + 20 * DAY, "user_exposure_stats", "product_sales_stats")
    materialize(T, "user_purchase_stats")
    named = ["user_exposure_stats", "product_sales_stats", "user_purchase_stats"]
    found = diff_online(Selection(named))
    assert found.as_of == [moment(START + 20 * DAY), moment(T)]
    assert found.differences == []


def test_user_without_a_row_in_a_view_is_no_difference(home):
    views = ("user_recent_purchases", "user_demographics")
    materialize(T, *views)
    for view in views:
        found = diff_online(Selection([view]))
        assert found.compared == {"user": 3} and found.differences == [], view


def test_all_differences_are_written_as_json(home, tmp_path):
    path = tmp_path / "differences.json"
    code, output = compared("--from", "1", "--to", "2", "--limit", "1", "--json", str(path))
    content = json.loads(path.read_text())
    assert code == 1 and f"and {len(content['differences']) - 1} more" in output
    wanted = {"kind": "user", "id": "u1", "view": "user_purchase_stats"}
    wanted |= {"feature": "purchase_count_all", "left": 1, "right": 2}
    assert wanted in content["differences"]
    assert content["as_of"]["user_purchase_stats"] == moment(T).isoformat()


def test_every_error_is_one_sentence_with_exit_code_2(home, tmp_path, monkeypatch, capsys):
    def error(*arguments):
        return refused(monkeypatch, capsys, *arguments)

    assert "There is no lake version before 1" in error("--to", "1")
    assert "The lake has no version 7; it has 1 to 3" in error("--to", "7")
    assert "got 1 twice" in error("--from", "1", "--to", "1")
    assert "clipwise materialize" in error("--online")
    assert "leave out one" in error("--online", "--from", "1")
    assert "leave out --as-of" in error("--online", "--as-of", "2024-03-01T00:00:00Z")
    assert "Lake version 2 is complete up to" in error("--as-of", moment(T + 1).isoformat())
    unknown_view = error("--view", "user_shoes")
    assert "'user_shoes'" in unknown_view and "user_purchase_stats" in unknown_view
    assert "has 'missing' before" in error("--user", "u1", "--user", "missing")
    assert "leave out --user" in error("--user", "u1", "--view", "product_details")
    taken = tmp_path / "taken.json"
    taken.write_text("mine")
    assert "Name another file" in error("--user", "u1", "--json", str(taken))
    assert taken.read_text() == "mine"


def test_missing_lake_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLIPWISE_HOME", str(tmp_path / "nowhere"))
    for arguments in ((), ("--online",)):
        assert "run `clipwise ingest" in refused(monkeypatch, capsys, *arguments)
    assert not (tmp_path / "nowhere").exists()


def test_online_store_ahead_of_the_lake_cannot_be_compared(home):
    materialize(WATERMARK, "user_demographics")
    remove_versions(home, 3)
    with pytest.raises(DiffError, match="beyond the lake"):
        diff_online(Selection(["user_demographics"]))
