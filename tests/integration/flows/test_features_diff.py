"""``clipwise features diff``: what differs between two lake versions, or offline and online."""

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from feature_repo.lake.reader import Lake
from feature_repo.publication.publish import published
from flows.cli.main import app, main
from flows.compare.features import Choice, DiffError, diff_online, diff_versions
from tests.support.feature_logs import DAY, START, WATERMARK, land, moment

# Feast warns while it is imported; its warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

T = START + 40 * DAY + DAY // 2
"""When the first two versions end; the third one ends later."""


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
"""The second version: what happened before T, and was landed after it."""

NEW = {
    "products": [row(2 * DAY, product_id="p9")],
    "events": [purchase("told", 39 * DAY, created_timestamp=T)],
    "users": [row(41 * DAY, user_id="u9")],
}
"""The third version: a product known for long, and what was learned or happened from T on."""


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


def forget(home, *versions: int) -> None:
    """Make the lake what it was before its newest versions."""
    for version in versions:
        Lake(home).state_path(version).unlink()


def materialize(until: int, *views: str) -> None:
    from flows.materialize import apply

    apply().materialize(moment(START), moment(until), list(views) or None)


def compared(*arguments: str):
    """The command's exit code and what it prints, without the progress."""
    done = CliRunner().invoke(app, ["features", "diff", *arguments], env={"COLUMNS": "120"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


def refused(monkeypatch, capsys, *arguments: str) -> str:
    """The sentence with which the whole command line ends in trouble."""
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


def test_late_row_differs_in_exactly_the_entities_that_it_touches(home):
    found = diff_versions(1, 2, None, Choice())
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


def test_versions_are_alike_as_of_an_instant_before_the_late_row(home):
    choice = Choice(["user_purchase_stats", "user_recent_purchases"])
    before, after = (moment(START + 39 * DAY + part).isoformat() for part in (5, 6))
    assert diff_versions(1, 2, before, choice).differences == []
    assert diff_versions(1, 2, after, choice).differences


def test_what_is_learned_after_the_earlier_watermark_is_no_difference(home):
    code, said = compared("--from", "2", "--to", "3", "--user", "u1", "--user", "u2")
    assert code == 0
    assert "Version 2 and version 3 answer alike" in said and "for 2 users." in said


def test_without_versions_the_current_one_is_compared_with_the_one_before(home):
    found = diff_versions(None, None, None, Choice())
    assert (found.left, found.right) == ("version 2", "version 3")


def test_other_way_round_the_sides_are_swapped(home):
    choice = Choice(["user_purchase_stats"])
    there, back = diff_versions(1, 2, None, choice), diff_versions(2, 1, None, choice)
    assert (back.left, back.right) == ("version 2", "version 1")
    swapped = [(row.id, row.feature, row.right, row.left) for row in back.differences]
    assert swapped == [(row.id, row.feature, row.left, row.right) for row in there.differences]


def test_entity_that_one_version_does_not_know_is_one_difference_of_every_view(home):
    found = diff_versions(2, 3, None, Choice())
    assert [(r.kind, r.id, r.feature, r.left, r.right) for r in found.differences] == [
        ("product", "p9", "known", False, True)
    ]
    code, said = compared("--product", "p1", "--product", "p9")
    assert code == 1
    assert said.count("known to one side alone (1)") == 3
    assert "in 1 of 2 products." in said


def test_only_the_views_and_entities_that_were_named_are_compared(home):
    choice = Choice(["user_purchase_stats"], {"user": ["u1", "u2"]})
    found = diff_versions(1, 2, None, choice)
    assert found.compared == {"user": 2}
    assert {(row.id, row.view) for row in found.differences} == {("u1", "user_purchase_stats")}


def test_sample_is_no_larger_than_asked_and_says_of_how_many(home):
    few = ("--from", "2", "--to", "3", "--view", "user_demographics", "--entities")
    first, again = compared(*few, "1"), compared(*few, "1")
    assert first == again and "for 1 user, sampled of 3 users, " in first[1]
    assert "for 3 users." in compared(*few, "3")[1]


def test_sample_of_two_versions_takes_what_changed_first(home):
    views = ["user_purchase_stats", "product_sales_stats"]
    for seed in range(4):
        found = diff_versions(1, 2, None, Choice(views, count=1, seed=seed))
        assert {row.id for row in found.differences} == {"u1", "p2"}


def test_online_store_answers_like_history_after_a_materialization(home):
    forget(home, 2, 3)
    materialize(T)
    found = diff_online(Choice())
    assert found.differences == [] and len(found.views) == 14
    code, said = compared("--online")
    assert code == 0 and "Offline and online answer alike" in said


def test_what_did_not_reach_the_online_store_yet_differs(home):
    materialize(T)
    late = {"users": [row(DAY, user_id="u4", age_min=20), row(0, user_id="u2", age_min=31)]}
    late["users"][1]["created_timestamp"] = START + DAY
    land(home, late, WATERMARK)
    choice = Choice(["user_demographics", "user_exposure_stats"])
    found = diff_online(choice)
    assert [(r.id, r.feature, r.left, r.right) for r in found.differences] == [
        ("u2", "age_min", 31, 30),
        ("u4", "known", True, False),
    ]
    materialize(T)
    assert diff_online(choice).differences == []


def test_value_that_was_spoiled_online_is_found(home):
    from flows.materialize import feature_store

    materialize(T)
    store = feature_store()
    fields = [field.name for field in store.get_feature_view("user_demographics").features]
    spoiled = dict.fromkeys(fields) | {"user_id": "u2", "age_min": 31}
    spoiled |= dict.fromkeys(("event_timestamp", "created_timestamp"), moment(T))
    store.write_to_online_store("user_demographics", pd.DataFrame([spoiled]))
    found = diff_online(Choice())
    assert [(r.id, r.feature, r.left, r.right) for r in found.differences] == [
        ("u2", "age_min", 30, 31)
    ]


def test_each_view_is_compared_as_of_the_instant_up_to_which_it_is_online(home):
    materialize(START + 20 * DAY, "user_exposure_stats", "product_sales_stats")
    materialize(T, "user_purchase_stats")
    named = ["user_exposure_stats", "product_sales_stats", "user_purchase_stats"]
    found = diff_online(Choice(named))
    assert found.as_of == [moment(START + 20 * DAY), moment(T)]
    assert found.differences == []


def test_user_without_a_row_in_a_view_is_no_difference(home):
    views = ("user_recent_purchases", "user_demographics")
    materialize(T, *views)
    for view in views:
        found = diff_online(Choice([view]))
        assert found.compared == {"user": 3} and found.differences == [], view


def test_all_that_differs_is_written_as_json(home, tmp_path):
    path = tmp_path / "differences.json"
    code, said = compared("--from", "1", "--to", "2", "--limit", "1", "--json", str(path))
    content = json.loads(path.read_text())
    assert code == 1 and f"and {len(content['differences']) - 1} more" in said
    wanted = {"kind": "user", "id": "u1", "view": "user_purchase_stats"}
    wanted |= {"feature": "purchase_count_all", "left": 1, "right": 2}
    assert wanted in content["differences"]
    assert content["as_of"]["user_purchase_stats"] == moment(T).isoformat()


def test_every_trouble_is_a_sentence_and_exit_code_2(home, tmp_path, monkeypatch, capsys):
    def said(*arguments):
        return refused(monkeypatch, capsys, *arguments)

    assert "There is no lake version before 1" in said("--to", "1")
    assert "The lake has no version 7; it has 1 to 3" in said("--to", "7")
    assert "got 1 twice" in said("--from", "1", "--to", "1")
    assert "clipwise materialize" in said("--online")
    assert "leave out one" in said("--online", "--from", "1")
    assert "leave out --as-of" in said("--online", "--as-of", "2024-03-01T00:00:00Z")
    assert "Lake version 2 is complete up to" in said("--as-of", moment(T + 1).isoformat())
    unknown_view = said("--view", "user_shoes")
    assert "'user_shoes'" in unknown_view and "user_purchase_stats" in unknown_view
    assert "knows a user 'nobody'" in said("--user", "u1", "--user", "nobody")
    assert "leave out --user" in said("--user", "u1", "--view", "product_details")
    taken = tmp_path / "taken.json"
    taken.write_text("mine")
    assert "name another one" in said("--user", "u1", "--json", str(taken))
    assert taken.read_text() == "mine"


def test_lake_that_is_not_there_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLIPWISE_HOME", str(tmp_path / "nowhere"))
    for arguments in ((), ("--online",)):
        assert "run `clipwise ingest" in refused(monkeypatch, capsys, *arguments)
    assert not (tmp_path / "nowhere").exists()


def test_online_store_that_is_ahead_of_the_lake_cannot_be_compared(home):
    materialize(WATERMARK, "user_demographics")
    forget(home, 3)
    with pytest.raises(DiffError, match="beyond the lake"):
        diff_online(Choice(["user_demographics"]))
