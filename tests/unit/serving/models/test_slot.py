from feature_repo.names import HOME
from serving.errors import ModelError
from serving.models.slot import ModelSlot, in_use, model_slots, refresh_all
from tests.support.serving_fakes import FakeRanker, FakeRegistry

RANKERS_7 = {"7": FakeRanker("7", "checkout_ranker")}
BROKEN = ModelError("home_ranker version 8 cannot be loaded.")


def test_rule_serves_while_there_is_no_champion():
    slot = ModelSlot(HOME, FakeRegistry())
    slot.refresh()
    assert (slot.current.name, slot.current.version) == ("spend_percov", "rule-1")
    assert not slot.has_champion and slot.problem is None


def test_new_champion_replaces_the_old_one_and_is_loaded_once():
    registry = FakeRegistry("7", {"7": FakeRanker("7"), "8": FakeRanker("8")})
    slot = ModelSlot(HOME, registry)
    slot.refresh()
    slot.refresh()
    assert slot.current.version == "7" and slot.has_champion and registry.loads == 1
    registry.champion = "8"
    slot.refresh()
    assert slot.current.version == "8" and registry.loads == 2


def test_broken_champion_never_serves_and_the_old_one_stays():
    registry = FakeRegistry("7", {"7": FakeRanker("7"), "8": BROKEN})
    slot = ModelSlot(HOME, registry)
    slot.refresh()
    registry.champion = "8"
    slot.refresh()
    assert slot.current.version == "7" and slot.problem == str(BROKEN)


def test_broken_first_champion_leaves_the_rule():
    slot = ModelSlot(HOME, FakeRegistry("8", {"8": BROKEN}))
    slot.refresh()
    assert slot.current.name == "spend_percov" and slot.problem == str(BROKEN)


def test_champion_serves_while_the_registry_is_down_and_the_problem_then_clears():
    registry = FakeRegistry("7", {"7": FakeRanker("7")})
    slot = ModelSlot(HOME, registry)
    slot.refresh()
    registry.champion = ModelError("The registry does not answer.")
    slot.refresh()
    assert slot.current.version == "7" and "does not answer" in slot.problem
    registry.champion = "7"
    slot.refresh()
    assert slot.problem is None and registry.loads == 1


def test_rule_serves_again_after_the_alias_is_removed():
    registry = FakeRegistry("7", {"7": FakeRanker("7")})
    slot = ModelSlot(HOME, registry)
    slot.refresh()
    registry.champion = None
    slot.refresh()
    assert not slot.has_champion


def test_alias_set_back_is_served_from_memory_without_the_registrys_files():
    registry = FakeRegistry("7", {"7": FakeRanker("7"), "8": FakeRanker("8")})
    slot = ModelSlot(HOME, registry)
    slot.refresh()
    registry.champion = "8"
    slot.refresh()
    assert slot.models.previous.version == "7"
    registry.rankers = {}
    for version, before in (("7", "8"), ("8", "7")):
        registry.champion = version
        slot.refresh()
        assert (slot.current.version, slot.models.previous.version) == (version, before)
    assert slot.problem is None and registry.loads == 2


def test_champion_whose_alias_was_removed_comes_back_from_memory():
    registry = FakeRegistry("7", {"7": FakeRanker("7")})
    slot = ModelSlot(HOME, registry)
    for champion in ("7", None, "7"):
        registry.champion = champion
        slot.refresh()
    assert slot.current.version == "7" and slot.models.previous is None and registry.loads == 1


def challenged(**rankers) -> tuple[FakeRegistry, ModelSlot]:
    versions = {"7": FakeRanker("7"), "8": FakeRanker("8")} | rankers
    registry = FakeRegistry("7", versions, challenger="8")
    slot = ModelSlot(HOME, registry, has_challenger=True)
    slot.refresh()
    return registry, slot


def test_challenger_is_loaded_only_for_an_experiment():
    registry, slot = challenged()
    assert (slot.current.version, slot.models.challenger.version) == ("7", "8")
    alone = ModelSlot(HOME, registry)
    alone.refresh()
    assert alone.models.challenger is None


def test_challenger_that_becomes_champion_is_taken_from_memory():
    registry, slot = challenged()
    registry.champion = "8"
    slot.refresh()
    assert slot.current.version == "8" and slot.models.challenger is None
    assert slot.models.previous.version == "7" and registry.loads == 2


def test_broken_challenger_is_not_loaded_and_does_not_affect_the_champion():
    _, slot = challenged(**{"8": BROKEN})
    assert slot.current.version == "7" and slot.problem is None
    assert slot.models.challenger is None and slot.challenger_problem == str(BROKEN)


def test_challenger_is_loaded_beside_the_rule():
    registry = FakeRegistry(None, {"8": FakeRanker("8")}, challenger="8")
    slot = ModelSlot(HOME, registry, has_challenger=True)
    slot.refresh()
    assert not slot.has_champion and slot.models.challenger.version == "8"


def test_challenger_stays_while_the_registry_is_down_and_goes_with_its_alias():
    registry, slot = challenged()
    registry.champion = ModelError("The registry does not answer.")
    slot.refresh()
    assert slot.models.challenger.version == "8"
    registry.champion, registry.challenger = "7", None
    slot.refresh()
    assert slot.models.challenger is None and slot.challenger_problem is None


def test_rule_serves_from_the_start_until_the_registry_answers():
    registry = FakeRegistry(ModelError("The registry does not answer."), {"7": FakeRanker("7")})
    slot = ModelSlot(HOME, registry)
    slot.refresh()
    assert slot.current.name == "spend_percov" and "does not answer" in slot.problem
    registry.champion = "7"
    slot.refresh()
    assert slot.current.version == "7" and slot.problem is None


def test_rankers_have_champions_of_their_own_and_one_without_serves_its_rule():
    slots = model_slots({"home": FakeRegistry(), "checkout": FakeRegistry("7", RANKERS_7)})
    refresh_all(slots)
    served = {key: (one.name, one.version) for key, one in in_use(slots).items()}
    assert served == {
        "home": ("spend_percov", "rule-1"),
        "checkout": ("checkout_ranker", "7"),
    }


def test_ranker_whose_champion_is_broken_does_not_delay_the_other():
    slots = model_slots(
        {"home": FakeRegistry("8", {"8": BROKEN}), "checkout": FakeRegistry("7", RANKERS_7)}
    )
    refresh_all(slots)
    assert slots["home"].problem == str(BROKEN) and slots["checkout"].problem is None
    assert slots["checkout"].has_champion and not slots["home"].has_champion
