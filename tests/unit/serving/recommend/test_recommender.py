import asyncio
import math
from dataclasses import asdict
from datetime import timedelta

import numpy as np
import pytest

from feature_repo.instants import microseconds
from feature_repo.names import CHECKOUT, HOME, PLACEMENTS, ranker_for
from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS, static_inputs
from serving.errors import AsOfRefused, NotReady
from serving.ledger.ledger import NoLedger, Redemption
from serving.ledger.sqlite_ledger import SqliteLedger
from serving.models.experiment import Experiment
from serving.models.rankers import ChampionRanker, RuleRanker
from serving.models.slot import Models
from serving.policy.policies import Policies, Policy
from serving.policy.probability import Calibration
from serving.policy.scores import RULES
from serving.recommend.decision import Records
from serving.recommend.purchase_cache import PurchaseCache
from serving.recommend.recommender import Limits, Rankers, Reads, Recommender
from serving.rules.settings import RuleSettings
from serving.runtime.clock import Clock
from serving.schemas.degradation import COLD_START_FEATURES, ONLINE_STORE
from serving.schemas.recommendation import CartItem, RecommendationRequest
from tests.support.registered import fitted
from tests.support.serving_fakes import (
    WATERMARK,
    FakeLedger,
    FakeLog,
    FakeOnline,
    FakeRanker,
    buyer,
    coupon,
    entity,
    index_of,
    user,
)

USED_BY_OTHERS = {"coupon_redemption_count_all": 2, "covered_basket_count": 35}
INDEX = index_of(
    coupon("milk", "1", ("p-milk",), covered_buyer_count_all=5, **USED_BY_OTHERS),
    coupon("bread", "1", ("p-bread",), covered_buyer_count_all=50),
    coupon("soap", "2", ("p-soap",), covered_buyer_count_all=500),
    coupon("welcome", "3", ("p-milk",), audience="open", covered_buyer_count_all=1),
)


class CountingCache(PurchaseCache):
    """A cache that counts how often purchase features are computed."""

    def __init__(self, is_full: bool | None = None) -> None:
        super().__init__(compute=self._counted)
        self.computed, self._full = 0, is_full

    def _counted(self, *given):
        self.computed += 1
        return static_inputs(*given)

    @property
    def is_full(self) -> bool:
        return super().is_full if self._full is None else self._full


class Waiting:
    """A recommender that answers synchronously."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        self.answered = lambda request: asyncio.run(recommender.recommend(request))

    def recommend(self, request: RecommendationRequest):
        return self.answered(request).body


def recommender(
    online,
    index=INDEX,
    ranker=None,
    log=None,
    replay=True,
    ledger=None,
    rules=None,
    models=None,
    cache=None,
    policies=None,
    departments=None,
    experiment=None,
    shadow=None,
    **more,
) -> Waiting:
    decides = Recommender(
        reads=Reads(online, lambda at: index, online, cache or PurchaseCache()),
        rankers=Rankers(
            lambda key: models or Models(ranker or RuleRanker(RULES[key])),
            experiment or Experiment(),
        ),
        records=Records(log if log is not None else FakeLog(), shadow),
        clock=Clock(lambda: WATERMARK, replay),
        limits=Limits(
            rules or RuleSettings(), ledger or NoLedger(), policies or Policies(), departments
        ),
        **({"new_id": lambda: "request-1"} | more),
    )
    return Waiting(decides)


def ask(user_id: str = "900", placement: str = "home", **more) -> RecommendationRequest:
    return RecommendationRequest(user_id=user_id, placement=placement, **more)


def shown(answer) -> list[str]:
    return [recommendation.coupon_id for recommendation in answer.recommendations]


def test_user_sees_the_coupons_of_what_they_buy_first():
    online = FakeOnline({"900": buyer({"p-milk": 3}, campaign_ids=["1"])})
    answer = recommender(online).recommend(ask())
    assert shown(answer) == ["milk", "welcome", "bread"]
    assert answer.model.name == "spend_percov" and answer.model.version == "rule-1"
    assert not answer.cold_start and answer.reason is None


@pytest.mark.parametrize("degraded", [(), (ONLINE_STORE, COLD_START_FEATURES)])
def test_prefetched_user_is_not_computed_again_and_nothing_is_logged(degraded):
    cache, log = CountingCache(), FakeLog()

    class Online(FakeOnline):
        async def read(self, user_id: str):
            return self.users[user_id], degraded

        async def prefetch(self, user_id: str):
            return None if degraded else self.users[user_id]

    who = entity(buyer({"p-milk": 3}, campaign_ids=["1"]))
    decides = recommender(Online({"900": who}), log=log, cache=cache)

    assert asyncio.run(decides.recommender.prefetch("900")) is not bool(degraded)
    assert cache.computed == (0 if degraded else 1) and log.decisions == []
    assert shown(decides.recommend(ask())) == ["milk", "welcome", "bread"]
    assert cache.computed == 1


@pytest.mark.parametrize("full", [False, True])
def test_no_further_user_is_prefetched_once_the_cache_is_full(full):
    class Online(FakeOnline):
        async def prefetch(self, user_id: str):
            return self.users[user_id]

    who = entity(buyer({"p-milk": 3}, campaign_ids=["1"]))
    decides = recommender(Online({"900": who}), cache=CountingCache(full))
    assert asyncio.run(decides.recommender.prefetch("900")) is not full


def test_answer_carries_rank_score_propensity_and_validity():
    online = FakeOnline({"900": buyer({"p-milk": 3}, campaign_ids=["1"])})
    first = recommender(online).recommend(ask(k=1)).recommendations[0]
    assert first.model_dump() == {
        "coupon_id": "milk",
        "coupon_code": "MILK",
        "campaign_id": "1",
        "rank": 1,
        "score": pytest.approx(math.log(3.5) + 0.5 * math.log(2.025 / 40)),
        "propensity": 1.0,
        "valid_to": WATERMARK + timedelta(days=10),
        "reasons": (),
        "quote": None,
        "redemption_probability": None,
        "excludes": None,
    }


def test_asked_to_explain_every_coupon_says_why_and_the_effects_make_the_score():
    online = FakeOnline({"900": buyer({"p-milk": 3}, campaign_ids=["1"])})
    milk, _, bread = recommender(online).recommend(ask(explain=True)).recommendations
    assert [(one.code, one.text) for one in milk.reasons] == [
        ("own_purchases", "Bought 3 times before, for 3.00 in total"),
        ("coupon_record", "Redeemed twice by other shoppers"),
    ]
    # Bread has what an unknown coupon has: no spend, and no redemption in its campaign.
    assert sum(one.effect for one in milk.reasons) == pytest.approx(milk.score - bread.score)
    assert bread.reasons == ()


def test_only_the_shown_coupons_are_explained():
    explained = []

    class Counting(RuleRanker):
        def explain(self, inputs):
            explained.append(len(inputs))
            return super().explain(inputs)

    online = FakeOnline({"900": user(campaign_ids=["1", "2"])})
    service = recommender(online, ranker=Counting(RULES["home"]))
    service.recommend(ask(k=2, explain=True))
    service.recommend(ask(k=2))
    assert explained == [2]


def test_nothing_to_show_needs_no_reasons():
    online = FakeOnline({"900": user(campaign_ids=["9"])})
    answer = recommender(online, index_of(coupon("milk", "1"))).recommend(ask(explain=True))
    assert answer.recommendations == () and answer.reason


def test_unknown_user_gets_open_coupons_and_a_cold_start():
    answer = recommender(FakeOnline()).recommend(ask("unknown"))
    assert shown(answer) == ["welcome"] and answer.cold_start


def test_user_whom_no_campaign_reaches_gets_an_empty_list_and_the_reason():
    index = index_of(coupon("milk", "1"))
    answer = recommender(FakeOnline({"900": user(campaign_ids=["9"])}), index).recommend(ask())
    assert shown(answer) == [] and answer.reason == "no campaign reaches this user"


def test_rules_that_leave_nothing_are_the_reason():
    index = index_of(coupon("milk", "1", valid_to_timestamp=microseconds(WATERMARK)))
    answer = recommender(FakeOnline({"900": user(campaign_ids=["1"])}), index).recommend(ask())
    assert answer.removed == {"expired": 1} and "rules removed" in answer.reason


def test_coupon_used_as_often_as_allowed_is_not_shown():
    index = index_of(coupon("milk", "1", per_user_limit=1), coupon("bread", "1"))
    answer = recommender(FakeOnline({"900": redeemed_milk(1)}), index).recommend(ask())
    assert shown(answer) == ["bread"] and answer.removed == {"usage_cap": 1}


def test_redeemed_coupon_without_a_stated_limit_is_not_shown_again():
    index = index_of(coupon("milk", "1"), coupon("bread", "1"))
    answer = recommender(FakeOnline({"900": redeemed_milk(1)}), index).recommend(ask())
    assert shown(answer) == ["bread"] and answer.removed == {"redeemed": 1}


def test_coupon_with_a_limit_that_is_not_reached_is_shown_again():
    index = index_of(coupon("milk", "1", per_user_limit=2), coupon("bread", "1"))
    answer = recommender(FakeOnline({"900": redeemed_milk(1)}), index).recommend(ask())
    assert set(shown(answer)) == {"milk", "bread"} and answer.removed == {}


def redeemed_milk(times: int) -> dict:
    """Returns the user 900, who redeemed the coupon for milk some time ago."""
    lists = {"ids": ["milk"], "counts": [times], "counts_7d": [0]}
    return user(campaign_ids=["1"]) | {f"redeemed_coupon_{k}": v for k, v in lists.items()}


def test_k_bounds_what_is_shown_but_not_what_is_a_candidate():
    log = FakeLog()
    online = FakeOnline({"900": user(campaign_ids=["1", "2"])})
    answer = recommender(online, log=log).recommend(ask(k=2))
    assert len(answer.recommendations) == 2
    assert len(log.decisions[0].candidate_ids) == 4


def test_champion_scores_decide_the_order():
    online = FakeOnline({"900": user(campaign_ids=["1", "2"])})
    answer = recommender(online, ranker=FakeRanker()).recommend(ask())
    assert shown(answer) == ["welcome", "soap", "bread", "milk"]
    assert answer.model.version == "7"


@pytest.mark.parametrize("replay", [True, False])
def test_redemption_counts_though_the_clock_was_set_back_since_but_not_before_it_in_replay(
    replay, tmp_path
):
    index = index_of(coupon("milk", "1", per_user_limit=1), coupon("bread", "1"))
    ledger = SqliteLedger(tmp_path / "ledger.db", 900, lambda: microseconds(WATERMARK))
    later = microseconds(WATERMARK + timedelta(hours=5))
    ledger.redeem([Redemption("r", "900", "milk", "1", later, 50)])
    online = FakeOnline({"900": user(campaign_ids=["1"])})
    answer = recommender(online, index, replay=replay, ledger=ledger).recommend(ask())
    ledger.close()
    assert ("milk" in shown(answer)) == replay
    assert answer.removed == ({} if replay else {"usage_cap": 1})


@pytest.mark.parametrize("policy", [Policy(), Policy("plackett_luce"), Policy("epsilon_greedy")])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_coupon_for_which_the_ranker_has_no_number_is_not_shown_and_counted(wrong, policy):
    class Torn(FakeRanker):
        def score(self, inputs):
            scores = super().score(inputs)
            scores[[0, 2]] = wrong
            return scores

    online = FakeOnline({"900": user(campaign_ids=["1", "2"])})
    answer = recommender(online, ranker=Torn(), policies=Policies(policy)).recommend(ask())
    assert sorted(shown(answer)) == ["bread", "welcome"]
    assert answer.removed == {"unscored": 2}
    assert all(0 < one.propensity <= 1 for one in answer.recommendations)


def test_ranker_that_has_no_number_at_all_gives_an_answer_with_the_reason():
    class Lost(FakeRanker):
        def score(self, inputs):
            return np.full(len(inputs), np.nan)

    online = FakeOnline({"900": user(campaign_ids=["1"])})
    answer = recommender(online, ranker=Lost()).recommend(ask(explain=True))
    assert shown(answer) == [] and answer.removed == {"audience": 1, "unscored": 3}
    assert answer.reason


def test_decision_keeps_what_was_scored_shown_and_removed():
    log = FakeLog()
    index = index_of(
        coupon("milk", "1"),
        coupon("bread", "1"),
        coupon("old", "1", valid_to_timestamp=microseconds(WATERMARK)),
    )
    online = FakeOnline({"900": user(campaign_ids=["1"])}, stale=("user_stats",))
    answer = recommender(online, index, FakeRanker(), log).recommend(ask(k=1))
    decision = log.decisions[0]
    assert decision.request_id == answer.request_id == "request-1"
    assert decision.event_timestamp == microseconds(WATERMARK)
    assert list(decision.candidate_ids) == ["milk", "bread"]
    assert list(decision.coupon_ids) == ["bread"] and decision.scores.tolist() == [1.0]
    assert decision.features.shape == (1, len(RANKER_INPUTS))
    assert decision.propensities.tolist() == [1.0]
    assert decision.removed == '{"expired": 1}'
    assert decision.stale_features == answer.stale_features == ("user_stats",)


def test_cart_price_reaches_the_ranker_in_minor_units():
    log = FakeLog()
    online = FakeOnline({"900": user(campaign_ids=["1"])})
    cart = (CartItem(product_id="p-milk", quantity=3, unit_price=0.5),)
    recommender(online, log=log).recommend(ask(cart=cart))
    decision = log.decisions[0]
    amount = decision.features[:, RANKER_INPUTS.index("cart_covered_amount")]
    assert dict(zip(decision.coupon_ids, amount, strict=True))["milk"] == np.float32(150)


def test_price_of_half_a_cent_reaches_the_ranker_and_the_log_unrounded():
    log = FakeLog()
    online = FakeOnline({"900": user(campaign_ids=["1"])})
    cart = (CartItem(product_id="p-milk", quantity=2, unit_price=2.505),)
    recommender(online, log=log).recommend(ask(cart=cart))
    decision = log.decisions[0]
    amount = decision.features[:, RANKER_INPUTS.index("cart_covered_amount")]
    assert dict(zip(decision.coupon_ids, amount, strict=True))["milk"] == np.float32(501)
    assert (decision.cart_product_ids, decision.cart_quantities) == (["p-milk"], [2])
    assert decision.cart_unit_prices == pytest.approx([250.5], rel=1e-12)


def test_replay_decides_for_the_instant_that_the_request_names():
    online = FakeOnline({"900": user(campaign_ids=["1"])})
    later = WATERMARK + timedelta(days=10)
    answer = recommender(online).recommend(ask(as_of=later))
    assert answer.removed == {"audience": 1, "expired": 3}


def test_as_of_before_the_online_watermark_is_refused_and_the_watermark_named():
    early = WATERMARK - timedelta(microseconds=1)
    with pytest.raises(AsOfRefused, match="2017-12-01T00:00:00Z"):
        recommender(FakeOnline()).recommend(ask(as_of=early))
    recommender(FakeOnline()).recommend(ask(as_of=WATERMARK))


def test_service_on_the_wall_clock_refuses_as_of():
    with pytest.raises(AsOfRefused, match="wall clock"):
        recommender(FakeOnline(), replay=False).recommend(ask(as_of=WATERMARK))


def test_without_an_index_there_is_an_error_and_not_an_empty_answer():
    with pytest.raises(NotReady, match="clipwise materialize"):
        recommender(FakeOnline(), index=None).recommend(ask())


def test_one_request_uses_one_ranker_even_if_it_is_swapped_meanwhile():
    rankers = [FakeRanker("7"), FakeRanker("8")]
    online, log = FakeOnline({"900": user(campaign_ids=["1"])}), FakeLog()
    decides = Recommender(
        reads=Reads(online, lambda at: INDEX, online),
        rankers=Rankers(lambda _: Models(rankers.pop(0))),
        records=Records(log),
        clock=Clock(lambda: WATERMARK),
        new_id=lambda: "request-1",
    )
    service = Waiting(decides)
    assert service.recommend(ask()).model.version == "7" == log.decisions[0].model_version


FOUR = FakeOnline({"900": user(campaign_ids=["1", "2"])})


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_log_names_the_feature_service_and_the_ranker_of_the_placement(placement):
    log, expected = FakeLog(), ranker_for(placement)
    answer = recommender(FOUR, log=log).recommend(ask(placement=placement))
    (kept,) = log.decisions
    assert kept.feature_service == expected.service
    assert kept.model_name == answer.model.name == expected.rule


REACHED = FakeOnline({"900": user(campaign_ids=["1"])})
CART = (CartItem(product_id="p-milk", quantity=3, unit_price=0.5),)


def test_coupons_meant_for_others_are_counted_as_such():
    answer = recommender(REACHED).recommend(ask())
    assert answer.removed == {"audience": 1} and len(answer.recommendations) == 3


def test_each_coupon_carries_what_it_would_do_to_the_cart():
    index = index_of(
        coupon("milk", "1", ("p-milk",), discount_type="percent", discount_value=33, min_spend=100),
        coupon("bread", "1", ("p-bread",)),
    )
    answer = recommender(REACHED, index).recommend(ask(cart=CART))
    quotes = {one.coupon_id: one.quote for one in answer.recommendations}
    assert quotes["bread"] is None
    assert asdict(quotes["milk"]) == {
        "type": "percent",
        "value": 33,
        "amount_off": 50,
        "cashback": 0,
        "gift_value": 0,
        "applies_to": ("p-milk",),
        "covered_amount": 150,
        "missing_spend": 0,
        "missing_product": False,
    }


@pytest.mark.parametrize("has_champion", [True, False])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_only_the_scores_of_a_checkout_depend_on_the_cart(placement, has_champion):
    names, cart = ranker_for(placement), (CartItem(product_id="p-bread", quantity=2, unit_price=9),)
    rule = RuleRanker(RULES[names.key])
    ranker = ChampionRanker(names, fitted(ranker=names), "1") if has_champion else rule
    service = recommender(REACHED, ranker=ranker)

    def scores(**more) -> dict[str, float]:
        answer = service.recommend(ask(placement=placement, **more))
        return {one.coupon_id: one.score for one in answer.recommendations}

    without, with_cart = scores(), scores(cart=cart)
    if names is HOME:
        assert with_cart == without and len(without) == 3
    else:
        # The other coupons cover nothing in the cart, which is about to be paid.
        assert names is CHECKOUT and [*with_cart] == ["bread"]
        assert with_cart["bread"] > without["bread"]


def test_placement_and_cart_of_the_request_reach_the_rules():
    terms = {"bread": {"placements": "home"}, "milk": {"placements": "checkout"}}
    index = index_of(
        coupon("milk", "1", ("p-milk",), min_spend=151), coupon("bread", "1"), terms=terms
    )
    service = recommender(REACHED, index)
    assert shown(service.recommend(ask(cart=CART))) == ["bread"]
    answer = service.recommend(ask(placement="checkout", cart=CART))
    assert answer.removed == {"placement": 1, "min_spend": 1}


def test_holdout_gets_nothing_is_told_why_and_is_logged():
    log, ledger = FakeLog(), FakeLedger()
    rules = RuleSettings(holdout_share=1.0)
    answer = recommender(REACHED, log=log, ledger=ledger, rules=rules).recommend(ask())
    assert shown(answer) == [] and answer.removed == {"audience": 1, "holdout": 3}
    assert "holdout" in answer.reason
    assert list(log.decisions[0].coupon_ids) == [] and ledger.claims == []


def test_what_another_request_took_first_gives_its_place_and_its_rank():
    index = index_of(
        *(coupon(name, "1") for name in ("milk", "bread", "soap")),
        terms={"soap": {"total_limit": 1}},
    )
    log, ledger = FakeLog(), FakeLedger(refused={"soap": "usage_cap_total"})
    service = recommender(REACHED, index, FakeRanker(), log, ledger=ledger)
    answer = service.recommend(ask(k=2))
    assert [(one.coupon_id, one.rank) for one in answer.recommendations] == [
        ("bread", 1),
        ("milk", 2),
    ]
    assert answer.removed == {"usage_cap_total": 1}
    assert log.decisions[0].scores.tolist() == [1.0, 0.0]
    assert list(log.decisions[0].candidate_ids) == ["milk", "bread", "soap"]


def test_answer_without_a_coupon_after_scoring_has_the_reason():
    index = index_of(coupon("soap", "1"), terms={"soap": {"total_limit": 1}})
    ledger = FakeLedger(refused={"soap": "usage_cap_total"})
    answer = recommender(REACHED, index, ledger=ledger).recommend(ask())
    assert shown(answer) == [] and "removed says which" in answer.reason


class AtOnce:
    """Does in shadow at once what is to be done there."""

    def submit(self, job) -> None:
        job()


def test_answer_and_log_have_the_propensity_of_the_policy_of_the_placement():
    log = FakeLog()
    policies = Policies(by_placement={"home": Policy("plackett_luce", temperature=1e9)})
    service = recommender(FOUR, log=log, policies=policies)
    answer = service.recommend(ask())
    chances = [one.propensity for one in answer.recommendations]
    assert chances == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])
    kept = log.decisions[0]
    assert kept.propensities.tolist() == chances and "plackett_luce" in kept.policy
    assert list(kept.coupon_ids) == shown(answer)
    assert service.recommend(ask()).recommendations == answer.recommendations, "same request id"
    certain = service.recommend(ask(placement="cart"))
    assert {one.propensity for one in certain.recommendations} == {1.0}


def test_departments_are_limited_by_row_of_the_index():
    policies = Policies(Policy(department_limit=1))
    departments = {"milk": 0, "welcome": 0}

    def of(index):
        return np.array([departments.get(one, -1) for one in index.coupon_id])

    answer = recommender(FOUR, policies=policies, departments=of).recommend(ask())
    assert len(shown(answer)) == 3 and len({"milk", "welcome"} & set(shown(answer))) == 1
    assert answer.removed["department"] == 1


class Backwards(FakeRanker):
    def score(self, inputs):
        return -super().score(inputs)


CHALLENGED = Models(FakeRanker("7"), challenger=Backwards("8"))


def test_challenger_in_shadow_is_logged_beside_what_was_shown_and_takes_nothing():
    log, ledger = FakeLog(), FakeLedger()
    experiment = Experiment(shadow_share=1.0)
    answer = recommender(
        FOUR, log=log, ledger=ledger, models=CHALLENGED, experiment=experiment, shadow=AtOnce()
    ).recommend(ask(k=3))
    served, shadow = log.decisions
    assert (served.role, served.model_version, answer.model.version) == ("served", "7", "7")
    assert (shadow.role, shadow.model_version, shadow.arm) == ("shadow", "8", "champion")
    assert list(served.coupon_ids) == shown(answer)
    assert list(shadow.candidate_ids) == list(served.candidate_ids)
    assert list(shadow.coupon_ids) == list(shadow.candidate_ids)[:3] != shown(answer)
    assert shadow.request_id == served.request_id and shadow.features.shape[0] == 3


def test_user_of_the_challengers_share_is_ranked_by_it_and_told_so():
    log = FakeLog()
    experiment = Experiment(challenger_share=1.0, shadow_share=1.0)
    answer = recommender(
        FOUR, log=log, models=CHALLENGED, experiment=experiment, shadow=AtOnce()
    ).recommend(ask())
    assert answer.model.version == "8"
    assert [(one.role, one.arm) for one in log.decisions] == [("served", "challenger")]


def test_log_says_up_to_when_the_features_know():
    log = FakeLog()
    recommender(FOUR, log=log).recommend(ask())
    assert log.decisions[0].online_watermark == microseconds(WATERMARK)


class Remembering(FakeOnline):
    """Somebody was read before; the store may say something else by now."""

    before = None

    def cached(self, user_id: str):
        return self.before


def test_what_was_remembered_decides_nothing_once_the_store_says_something_else():
    online, log = Remembering({"900": buyer({"p-bread": 3}, campaign_ids=["1"])}), FakeLog()
    online.before = buyer({"p-milk": 3}, campaign_ids=["1", "2"])
    answer = recommender(online, log=log).recommend(ask())
    assert answer == recommender(FakeOnline(online.users)).recommend(ask())
    assert shown(answer)[0] == "bread" and "soap" not in shown(answer) and len(log.decisions) == 1


def test_candidates_of_an_unchanged_user_are_built_once():
    cache = CountingCache()
    online = Remembering({"900": buyer({"p-milk": 3}, campaign_ids=["1"])})
    online.before = online.users["900"]
    assert shown(recommender(online, cache=cache).recommend(ask())) == ["milk", "welcome", "bread"]
    assert cache.computed == 1
    online.before = None
    recommender(online, cache=cache).recommend(ask())
    assert cache.computed == 2


def test_answer_of_a_calibrated_ranker_states_how_likely_a_redemption_is():
    curves = Calibration(0.5, -2.0, 1.2, 0.1)
    online = FakeOnline({"900": user(campaign_ids=["1", "2"])})
    answer = recommender(online, ranker=FakeRanker(calibration=curves)).recommend(ask(k=2))
    # The fake scores its four candidates 0, 1, 2 and 3; the two highest are shown.
    inputs = np.zeros((4, len(RANKER_INPUTS)), np.float32)
    coupons, of_list = curves.of_request(np.arange(4.0), inputs)
    shown_chances = [one.redemption_probability for one in answer.recommendations]
    assert shown_chances == pytest.approx([coupons[3], coupons[2]])
    assert answer.redemption_probability == pytest.approx(of_list) and 0 < of_list < 1


def test_answer_of_a_plain_rule_states_no_probability():
    online = FakeOnline({"900": user(campaign_ids=["1", "2"])})
    answer = recommender(online).recommend(ask())
    assert answer.redemption_probability is None
    assert all(one.redemption_probability is None for one in answer.recommendations)
    assert "redemption_probability" not in answer.model_dump_json(exclude_none=True)


ONE_LEFT = index_of(coupon("last", "3", audience="open"), terms={"last": {"total_limit": 1}})


def guests(tmp_path, known: bool = False) -> Waiting:
    """A recommender with one unit left, for visitors who share the user_id "guest"."""
    ledger = SqliteLedger(tmp_path / "ledger.db", 900, lambda: microseconds(WATERMARK))
    ids = (f"request-{number}" for number in range(100))
    online = FakeOnline({"guest": buyer({"p-milk": 3})} if known else {})
    return recommender(online, ONE_LEFT, ledger=ledger, new_id=lambda: next(ids))


@pytest.mark.parametrize("known", [True, False])
def test_visitors_who_share_a_user_do_not_hold_each_others_reservation(tmp_path, known):
    service = guests(tmp_path, known)

    def seen(visitor: str | None) -> list[str]:
        return shown(service.recommend(ask(user_id="guest", visitor_id=visitor)))

    assert [seen(one) for one in ("s1", "s2", "s1", None)] == [["last"], [], ["last"], []]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_unknown_user_without_a_visitor_is_another_guest_at_every_payment(tmp_path, placement):
    service = guests(tmp_path)
    found = [shown(service.recommend(ask("guest", placement))) for _ in range(2)]
    assert found == [["last"], [] if placement in ("cart", "checkout") else ["last"]]


def test_known_user_keeps_the_reservation(tmp_path):
    service = guests(tmp_path, known=True)
    found = [shown(service.recommend(ask(user_id="guest"))) for _ in range(2)]
    assert found == [["last"], ["last"]]
