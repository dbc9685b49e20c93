"""The ledger against a model in plain Python, and under simultaneous threads and processes."""

import multiprocessing
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from serving.candidates.unstated import NO_LIMIT
from serving.errors import StorageFailed
from serving.ledger.ledger import (
    CAMPAIGN,
    END_OF_TIME,
    FREQUENCY,
    TOTAL,
    USER_BUDGET,
    Claim,
    Ledger,
    Redemption,
)
from serving.ledger.redis_ledger import RedisLedger, redis_client
from serving.ledger.sqlite_ledger import SqliteLedger
from tests.support.online_stores import redis_server

SECONDS = 10
LIFE = SECONDS * 1_000_000

CAMPAIGN_OF = {"a": "1", "b": "1", "c": "2"}
PERIOD_OF = {"a": 0, "b": LIFE // 2, "c": 2 * LIFE}


def claim(
    coupon: str = "a",
    cost: int = 0,
    total: int = NO_LIMIT,
    campaign: int = NO_LIMIT,
    user: int = NO_LIMIT,
    period: int = 0,
    shown: int = NO_LIMIT,
) -> Claim:
    reserved = min(total, campaign, user) < NO_LIMIT
    limits = (cost, total, campaign, user)
    return Claim(coupon, CAMPAIGN_OF[coupon], *limits, reserved, shown, period)


def redemption(name: str, user: str = "u", coupon: str = "a", at: int = 0, amount: int = 0):
    return Redemption(name, user, coupon, CAMPAIGN_OF[coupon], at, amount)


class Time:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def opened(place: Path | str, seconds: float, now):
    """A ledger in a file, or at the address of a Redis server."""
    if isinstance(place, Path):
        return SqliteLedger(place, seconds, now)
    return RedisLedger(redis_client(place), seconds, now)


@pytest.fixture(scope="module")
def redis_address():
    with redis_server() as address:
        yield address


@pytest.fixture(params=["sqlite", "redis"])
def place(request, tmp_path):
    """The path or address of an empty ledger."""
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    address = request.getfixturevalue("redis_address")
    redis_client(address).flushall()
    return address


@pytest.fixture
def ledger(place, time):
    ledger = opened(place, SECONDS, time)
    yield ledger
    ledger.close()


def test_identity_is_the_same_for_all_users_of_a_ledger_and_does_not_change(place, time):
    one, two = (opened(place, SECONDS, time) for _ in range(2))
    name = one.identity()
    one.redeem([redemption("r")])
    assert name and one.identity() == two.identity() == name
    one.close()
    two.close()


def test_redemption_taken_back_gives_back_its_use_and_its_cost(ledger):
    ledger.redeem([redemption("r", amount=30), redemption("s", amount=5)])
    ledger.take_back(["r"])
    ledger.take_back(["r"])
    usage = ledger.usage("u", 0, END_OF_TIME)
    assert (usage.uses, usage.spent, usage.spent_on_user["1"]) == ({"a": 1}, {"1": 5}, 5)
    assert list(usage.taken_back) == ["a"] and len(usage.redeemed) == 1


def test_redemption_taken_back_may_keep_its_use(ledger):
    ledger.redeem([redemption("r", amount=30)])
    for _ in range(2):
        ledger.take_back(["r"], keeps_use=True)
        ledger.redeem([redemption("r", amount=30)], corrects=False)
    usage = ledger.usage("u", 0, END_OF_TIME)
    assert (usage.uses, usage.spent, list(usage.taken_back)) == ({"a": 1}, {"1": 0}, [])
    assert usage.redeemed == [("a", 0)]


@pytest.mark.parametrize("keeps", [True, False])
def test_redemption_that_arrives_after_it_was_taken_back(ledger, keeps):
    ledger.claim("u", [claim(total=2, cost=7)], 0)
    ledger.take_back(["r"], keeps)
    ledger.redeem([redemption("r", amount=30)], corrects=False)
    usage = ledger.usage("u", 0, END_OF_TIME)
    assert (usage.uses["a"], usage.spent["1"], usage.held) == (int(keeps), 0, {})
    assert list(usage.taken_back) == ([] if keeps else ["a"])


def test_correction_makes_a_redemption_that_was_taken_back_stand_again(ledger):
    ledger.redeem([redemption("r", amount=30)])
    ledger.take_back(["r"])
    ledger.redeem([redemption("r", amount=20)])
    usage = ledger.usage("u", 0, END_OF_TIME)
    assert (usage.uses, usage.spent, list(usage.taken_back)) == ({"a": 1}, {"1": 20}, [])
    ledger.redeem([redemption("r", amount=20)], corrects=False)
    assert ledger.usage("u", 0, END_OF_TIME).uses == {"a": 1}


def test_visitors_who_share_a_user_hold_their_own_reservations(ledger):
    assert ledger.claim("guest", [claim(total=1, cost=5)], 0, "guest-1") == {}
    assert ledger.claim("guest", [claim(total=1)], 0, "guest-1") == {}
    assert ledger.claim("guest", [claim(total=1)], 0, "guest-2") == {"a": TOTAL}
    assert ledger.usage("guest", 0, END_OF_TIME, "guest-1").held == {"a": ("1", 0)}
    assert ledger.usage("guest", 0, END_OF_TIME, "guest-2").held == {}
    ledger.redeem([replace(redemption("r", "guest", amount=3), holder="guest-1")])
    usage = ledger.usage("guest", 0, END_OF_TIME, "guest-1")
    assert (usage.uses, usage.spent, usage.held) == ({"a": 1}, {"1": 3}, {})


def test_visitors_who_share_a_user_have_their_own_impressions(ledger):
    assert ledger.claim("guest", [claim(period=100, shown=1)], 0, "guest-1") == {}
    assert ledger.claim("guest", [claim(period=100, shown=1)], 1, "guest-2") == {}
    assert ledger.claim("guest", [claim(period=100, shown=1)], 2, "guest-1") == {"a": FREQUENCY}


def test_last_unit_is_promised_to_one_user(ledger):
    assert ledger.claim("u", [claim(total=1)], 0) == {}
    assert ledger.claim("v", [claim(total=1)], 0) == {"a": TOTAL}
    assert ledger.usage("v", 0, END_OF_TIME).uses == {"a": 1}


def test_second_claim_of_a_user_renews_the_reservation_and_takes_no_second_unit(ledger, time):
    ledger.claim("u", [claim(total=2, cost=30)], 0)
    time.now = LIFE - 1
    assert ledger.claim("u", [claim(total=2, cost=50)], 0) == {}
    time.now = 2 * LIFE - 2
    assert ledger.claim("v", [claim(total=2)], 0) == {}
    usage = ledger.usage("u", 0, END_OF_TIME)
    assert (usage.uses, usage.spent, usage.held) == ({"a": 2}, {"1": 50}, {"a": ("1", 50)})


def test_reservation_ends_when_it_expires(ledger, time):
    ledger.claim("u", [claim(total=1, cost=5)], 0)
    time.now = LIFE - 1
    assert ledger.claim("v", [claim(total=1)], 0) == {"a": TOTAL}
    time.now = LIFE
    assert ledger.usage("v", 0, END_OF_TIME).uses == {"a": 0}
    assert ledger.claim("v", [claim(total=1)], 0) == {}


@pytest.mark.parametrize("jump", [-5 * 3_600_000_000, 5 * 3_600_000_000])
def test_clock_that_jumps_by_hours_keeps_the_sums_and_ends_expired_reservations(ledger, time, jump):
    time.now = 10 * 3_600_000_000
    assert ledger.claim("u", [claim(total=1)], time.now) == {}
    ledger.redeem([redemption("r", "w", "b", at=time.now, amount=5)])
    time.now += jump
    assert ledger.usage("v", 0, END_OF_TIME).spent["1"] == 5
    # The first user has the unit until the reservation expires on the present clock.
    taken = {"a": TOTAL} if jump < 0 else {}
    assert ledger.claim("v", [claim(total=1)], time.now) == taken
    time.now -= jump
    assert ledger.usage("v", 0, END_OF_TIME).uses["a"] == 1
    time.now += LIFE + max(jump, 0)
    assert ledger.claim("w", [claim(total=1)], time.now) == {}


def test_redemption_ends_the_reservation_and_takes_its_place(ledger, time):
    ledger.claim("u", [claim(total=1, cost=80)], 0)
    ledger.redeem([redemption("r", amount=30)])
    usage = ledger.usage("u", 0, END_OF_TIME)
    assert (usage.uses, usage.spent, usage.held) == ({"a": 1}, {"1": 30}, {})
    assert usage.redeemed == [("a", 0)] and usage.spent_on_user == {"1": 30}
    time.now = 2 * LIFE
    assert ledger.claim("v", [claim(total=1)], 0) == {"a": TOTAL}


def test_redemption_without_a_reservation_counts_even_above_the_limit(ledger):
    ledger.claim("u", [claim(total=1)], 0)
    ledger.redeem([redemption("r", user="v")])
    assert ledger.usage("u", 0, END_OF_TIME).uses == {"a": 2}


def test_redemption_that_comes_twice_counts_once_and_frees_no_later_reservation(ledger):
    ledger.redeem([redemption("r", amount=30)])
    ledger.claim("u", [claim(total=9)], 0)
    ledger.redeem([redemption("r", amount=30), redemption("r", amount=30)])
    usage = ledger.usage("u", 0, END_OF_TIME)
    assert (usage.uses, usage.spent, list(usage.held)) == ({"a": 2}, {"1": 30}, ["a"])


def test_correction_replaces_a_redemption_and_a_repeated_event_does_not(ledger):
    ledger.redeem([redemption("r", amount=30)])
    ledger.redeem([redemption("r", amount=99)], corrects=False)
    assert ledger.usage("u", 0, END_OF_TIME).spent == {"1": 30}
    ledger.redeem([redemption("r", user="v", coupon="c", amount=20)])
    usage = ledger.usage("v", 0, END_OF_TIME)
    assert (usage.uses, usage.spent) == ({"a": 0, "c": 1}, {"1": 0, "2": 20})


def test_budgets_of_campaign_and_user_also_hold_among_the_claims_of_one_answer(ledger):
    claims = [claim(one, cost=40, campaign=100) for one in "ab"]
    assert ledger.claim("u", claims, 0) == {}
    assert ledger.claim("v", claims, 0) == {"a": CAMPAIGN, "b": CAMPAIGN}
    small = [claim("a", cost=60, user=100), claim("b", cost=60, user=100)]
    assert ledger.claim("w", small, 0) == {"b": USER_BUDGET}


def test_claim_that_costs_nothing_still_needs_one_minor_unit_of_budget(ledger):
    ledger.redeem([redemption("r", amount=100)])
    assert ledger.claim("v", [claim(cost=0, campaign=100)], 0) == {"a": CAMPAIGN}
    assert ledger.claim("v", [claim(cost=0, campaign=101)], 0) == {}


def test_impressions_are_read_within_the_window_and_deleted_after_their_period(ledger):
    for at in (10, 20, 30):
        ledger.claim("u", [claim(period=15)], at)
    assert ledger.usage("u", 10, 30).seen == [("a", 20), ("a", 30)]
    assert ledger.usage("v", 0, 30).seen == []
    assert ledger.usage("u", 0, 30).seen == [("a", 20), ("a", 30)]


def test_claim_that_fails_is_no_impression(ledger):
    ledger.redeem([redemption("r")])
    assert ledger.claim("u", [claim(total=1, period=15)], 10) == {"a": TOTAL}
    assert ledger.usage("u", 0, 30).seen == []


def test_frequency_cap_holds_also_with_clocks_that_differ(ledger):
    often = [claim(period=100, shown=2), claim("c", period=100, shown=9)]
    assert ledger.claim("u", often, 1_000) == {}
    assert ledger.claim("u", often, 990) == {}
    assert ledger.claim("u", often, 995) == {"a": FREQUENCY}
    assert ledger.claim("v", often, 995) == {}
    assert ledger.claim("u", often, 1_090) == {}, "990 is a whole period ago"
    assert ledger.claim("u", often, 1_099) == {"a": FREQUENCY}
    assert len(ledger.usage("u", 0, END_OF_TIME).seen) == 5, "older impressions are deleted"


def test_impression_of_a_clock_far_ahead_does_not_count_for_the_right_clock(ledger):
    ledger.claim("u", [claim(period=100, shown=1)], 10**9)
    assert ledger.claim("u", [claim(period=100, shown=1)], 0) == {}


def test_coupon_at_its_frequency_cap_is_not_reserved(ledger):
    both = [claim(period=100, shown=1, total=5, cost=3)]
    assert ledger.claim("u", both, 0) == {}
    ledger.redeem([redemption("r", amount=1)])
    assert ledger.claim("u", both, 1) == {"a": FREQUENCY}
    usage = ledger.usage("u", 0, END_OF_TIME)
    assert (usage.uses, usage.spent, usage.held) == ({"a": 1}, {"1": 1}, {})


def test_redemptions_at_the_instant_or_after_it_do_not_count_for_the_user(ledger):
    ledger.redeem([redemption("r", at=50)])
    assert ledger.usage("u", 0, 50).redeemed == []
    assert ledger.usage("u", 0, 51).redeemed == [("a", 50)]


def test_changes_of_another_process_are_read(place, time):
    one, two = (opened(place, SECONDS, time) for _ in range(2))
    assert one.usage("u", 0, END_OF_TIME).uses == {}
    two.claim("v", [claim(total=5, cost=2)], 0)
    assert one.usage("u", 0, END_OF_TIME).uses == {"a": 1}
    two.redeem([redemption("r", coupon="c", amount=3)])
    assert one.usage("u", 0, END_OF_TIME).spent == {"1": 2, "2": 3}
    one.close()
    two.close()


def test_unusable_file_raises_one_sentence_and_is_tried_again(tmp_path, time):
    (tmp_path / "ledger.db").write_text("no database")
    ledger = SqliteLedger(tmp_path / "ledger.db", SECONDS, time)
    for call in (
        lambda: ledger.usage("u", 0, 1),
        lambda: ledger.claim("u", [claim(total=1)], 0),
        lambda: ledger.redeem([redemption("r")]),
    ):
        with pytest.raises(StorageFailed, match="ledger.db could not be used"):
            call()
    (tmp_path / "ledger.db").unlink()
    assert ledger.claim("u", [claim(total=1)], 0) == {}
    ledger.close()


def test_emptied_redis_starts_at_zero_and_a_stopped_one_raises_one_sentence(time):
    with redis_server() as address:
        ledger = opened(address, SECONDS, time)
        ledger.redeem([redemption("r", amount=5)])
        assert ledger.usage("u", 0, END_OF_TIME).spent == {"1": 5}
        before = ledger.identity()
        redis_client(address).flushall()
        assert ledger.usage("u", 0, END_OF_TIME).spent == {}
        ledger.claim("u", [claim(total=1)], 0)
        assert ledger.identity() != before
    with pytest.raises(StorageFailed, match="ledger in Redis could not be used"):
        ledger.usage("u", 0, END_OF_TIME)
    ledger.close()


def test_redis_that_was_emptied_and_filled_again_is_read_without_the_cached_sums(redis_address):
    redis_client(redis_address).flushall()
    one, two = (opened(redis_address, SECONDS, Time()) for _ in range(2))
    one.redeem([redemption("r", amount=5)])
    assert one.usage("u", 0, END_OF_TIME).uses == {"a": 1}
    redis_client(redis_address).flushall()
    two.redeem([redemption(f"s{n}", coupon="c", amount=7) for n in range(9)])
    usage = one.usage("u", 0, END_OF_TIME)
    assert (usage.uses, usage.spent) == ({"c": 9}, {"2": 63})
    one.close()
    two.close()


def test_redis_deletes_the_impressions_of_a_user_without_further_requests(redis_address):
    client = redis_client(redis_address)
    client.flushall()
    ledger = opened(redis_address, SECONDS, Time())
    for period in (90, 60, 1):
        ledger.claim("u", [claim(period=period * LIFE)], 0)
        left = client.ttl("{clipwise:ledger}:seen:u") - 86_400
        assert 89 * SECONDS < left <= 90 * SECONDS
    ledger.close()


def test_ledger_file_of_an_earlier_layout_is_completed(tmp_path, time):
    ledger = SqliteLedger(tmp_path / "ledger.db", SECONDS, time)
    ledger.redeem([redemption("r", amount=5)])
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db") as file:
        file.executescript("drop table identity; pragma user_version = 1")
    file.close()
    assert ledger.identity() and ledger.usage("u", 0, END_OF_TIME).spent == {"1": 5}
    ledger.close()


def test_claim_waits_at_most_a_second_for_a_locked_file(tmp_path, time):
    ledger = SqliteLedger(tmp_path / "ledger.db", SECONDS, time)
    ledger.usage("u", 0, 1)
    with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as other:
        other.execute("begin immediate")
        with pytest.raises(StorageFailed, match="locked"):
            ledger.claim("u", [claim(total=1)], 0)
        assert ledger.usage("u", 0, 1).uses == {}
        other.execute("rollback")
    other.close()
    ledger.close()


def test_usage_waits_at_most_a_second_for_a_redis_that_hangs(time):
    with redis_server() as address:
        ledger = opened(address, SECONDS, time)
        ledger.usage("u", 0, END_OF_TIME)
        redis_client(address).client_pause(3_000)
        begun = monotonic()
        with pytest.raises(StorageFailed, match="Timeout"):
            ledger.usage("u", 0, END_OF_TIME)
        assert monotonic() - begun < 2.5
        ledger.close()


class Model:
    """The oracle of a ledger: plain lists, counted again for each call."""

    def __init__(self) -> None:
        self.redeemed: dict[str, Redemption] = {}
        self.held: dict[tuple[str, str], tuple[int, int]] = {}
        self.seen: list[tuple[str, str, int]] = []

    def live(self, now: int) -> dict[tuple[str, str], int]:
        return {key: cost for key, (cost, expires) in self.held.items() if expires > now}

    def uses(self, coupon: str, now: int, without: str | None = None) -> int:
        held = [user for user, one in self.live(now) if one == coupon and user != without]
        return len(held) + sum(one.coupon_id == coupon for one in self.redeemed.values())

    def spent(self, campaign: str, now: int, own: tuple[str, str], user: str | None = None) -> int:
        held = sum(
            cost
            for (one, coupon), cost in self.live(now).items()
            if CAMPAIGN_OF[coupon] == campaign and (one, coupon) != own and user in (None, one)
        )
        return held + sum(
            one.amount
            for one in self.redeemed.values()
            if one.campaign_id == campaign and user in (None, one.user_id)
        )

    def fails(self, user: str, one: Claim, now: int) -> str | None:
        cost, own, campaign = max(one.cost, 1), (user, one.coupon_id), one.campaign_id
        if self.uses(one.coupon_id, now, without=user) >= one.total_limit:
            return TOTAL
        if self.spent(campaign, now, own) + cost > one.campaign_budget:
            return CAMPAIGN
        if self.spent(campaign, now, own, user) + cost > one.user_budget:
            return USER_BUDGET
        shown = [at for name, coupon, at in self.seen if (name, coupon) == (user, one.coupon_id)]
        if sum(abs(at - now) < one.impression_period for at in shown) >= one.impression_limit:
            return FREQUENCY
        return None


users, coupons = st.sampled_from("uvw"), st.sampled_from("abc")
costs = st.integers(0, 50)
claims = st.lists(
    st.builds(
        claim,
        coupons,
        costs,
        total=st.sampled_from((0, 1, 2, NO_LIMIT)),
        campaign=st.sampled_from((0, 60, NO_LIMIT)),
        user=st.sampled_from((40, NO_LIMIT)),
        shown=st.sampled_from((1, 2, NO_LIMIT)),
    ).map(lambda one: replace(one, impression_period=PERIOD_OF[one.coupon_id])),
    max_size=3,
    unique_by=lambda one: one.coupon_id,
)


class LedgerMachine(RuleBasedStateMachine):
    """Two ledgers over one store return what the model returns, whichever is called."""

    place: Path | str
    count = 0

    @initialize()
    def open(self) -> None:
        LedgerMachine.count += 1
        place = self.place
        if isinstance(place, Path):
            place = place.with_name(f"{LedgerMachine.count}.db")
        else:
            redis_client(place).flushall()
        self.time, self.model = Time(), Model()
        self.ledgers = [opened(place, SECONDS, self.time) for _ in range(2)]

    @rule(which=st.integers(0, 1), user=users, wanted=claims)
    def claim(self, which: int, user: str, wanted: list[Claim]) -> None:
        expected, now = {}, self.time.now
        for one in wanted:
            failed = self.model.fails(user, one, now)
            if failed:
                expected[one.coupon_id] = failed
            elif one.reserved:
                self.model.held[user, one.coupon_id] = (one.cost, now + LIFE)
            if not failed and one.impression_period:
                self.model.seen.append((user, one.coupon_id, now))
        assert self.ledgers[which].claim(user, wanted, now) == expected

    @rule(
        which=st.integers(0, 1),
        name=st.sampled_from("12345"),
        user=users,
        coupon=coupons,
        amount=costs,
        corrects=st.booleans(),
    )
    def redeem(self, which, name, user, coupon, amount, corrects) -> None:
        one = redemption(name, user, coupon, amount=amount)
        if name not in self.model.redeemed:
            self.model.held.pop((user, coupon), None)
        if corrects or name not in self.model.redeemed:
            self.model.redeemed[name] = one
        self.ledgers[which].redeem([one], corrects)

    @rule(seconds=st.integers(1, SECONDS))
    def wait(self, seconds: int) -> None:
        self.time.now += seconds * 1_000_000

    @invariant()
    def sums_are_those_of_the_model(self) -> None:
        for ledger in getattr(self, "ledgers", ()):
            for user in "uvw":
                usage = ledger.usage(user, 0, END_OF_TIME)
                now = self.time.now
                for coupon, campaign in CAMPAIGN_OF.items():
                    none = ("", "")
                    assert usage.uses.get(coupon, 0) == self.model.uses(coupon, now)
                    assert usage.spent.get(campaign, 0) == self.model.spent(campaign, now, none)
                    own = self.model.spent(campaign, now, none, user)
                    assert usage.spent_on_user.get(campaign, 0) == own

    def teardown(self) -> None:
        for ledger in getattr(self, "ledgers", ()):
            ledger.close()


def test_ledger_returns_what_a_model_in_plain_python_returns(place):
    LedgerMachine.place = place
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


UNITS, BUDGET = 30, 400


def grab(ledger: Ledger, prefix: str, tries: int) -> list[str]:
    """Claims units and parts of a budget, both scarce, for many users; returns the taken ones."""
    got = []
    for number in range(tries):
        user = f"{prefix}-{number}"
        wanted = [claim("a", total=UNITS), claim("c", cost=7, campaign=BUDGET)]
        failed = ledger.claim(user, wanted, 0)
        got += [f"{one.coupon_id} {user}" for one in wanted if one.coupon_id not in failed]
        if number % 3 == 0 and "a" not in failed:
            ledger.redeem([redemption(f"r-{user}", user)])
    return got


def grab_alone(place: Path | str, prefix: str, tries: int, results) -> None:
    ledger = opened(place, 3_600, lambda: 0)
    results.put(grab(ledger, prefix, tries))
    ledger.close()


def check_nothing_was_promised_twice(place: Path | str, got: list[str]) -> None:
    ledger = opened(place, 3_600, lambda: 0)
    usage = ledger.usage("another", 0, END_OF_TIME)
    ledger.close()
    units = [one for one in got if one.startswith("a ")]
    parts = [one for one in got if one.startswith("c ")]
    assert (len(units), len(parts)) == (UNITS, BUDGET // 7)
    assert usage.uses["a"] == UNITS and usage.spent["2"] == 7 * len(parts)


def test_processes_never_promise_the_last_unit_twice(place):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [
        context.Process(target=grab_alone, args=(place, f"p{number}", 40, results))
        for number in range(4)
    ]
    for worker in workers:
        worker.start()
    got = [one for _ in workers for one in results.get(timeout=120)]
    for worker in workers:
        worker.join(timeout=30)
        assert worker.exitcode == 0
    check_nothing_was_promised_twice(place, got)


def test_threads_never_promise_the_last_unit_twice(place):
    got: list[str] = []
    ledger = opened(place, 3_600, lambda: 0)

    # The threads share one pool of Redis connections, so they close it together at the end.
    all_done = threading.Barrier(8)

    def run(prefix: str) -> None:
        got.extend(grab(ledger, prefix, 20))
        all_done.wait(timeout=60)
        ledger.close()

    threads = [threading.Thread(target=run, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_nothing_was_promised_twice(place, got)


def test_frequency_cap_holds_among_simultaneous_threads(ledger):
    shown: list[int] = []

    def run(number: int) -> None:
        for at in range(number, number + 5):
            if not ledger.claim("u", [claim(period=10**9, shown=7)], at):
                shown.append(at)

    threads = [threading.Thread(target=run, args=(10 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shown) == 7 == len(ledger.usage("u", -1, END_OF_TIME).seen)
