"""The ledger in Redis: shared by the services of several machines.

Every call is one Lua script, which Redis runs alone. All keys carry the same hash tag, so that they
lie on one node of a cluster. Instants travel as text: Lua's numbers would round them.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from typing import Any

from redis.exceptions import RedisError

from serving.errors import StorageFailed
from serving.ledger import CAMPAIGN, TOTAL, USER_BUDGET, Claim, Redemption, Usage

PREFIX = "{clipwise:ledger}"

_SHARED = """
local prefix = KEYS[1]
local ends, entered = prefix .. ':ends', prefix .. ':redemptions'
local function held_of(user) return prefix .. ':held:' .. user end
local function mine_of(user) return prefix .. ':mine:' .. user end
local function seen_of(user) return prefix .. ':seen:' .. user end

local function identity()
  redis.call('SET', prefix .. ':identity', table.concat(redis.call('TIME'), '.'), 'NX')
  return redis.call('GET', prefix .. ':identity')
end

local function add(kind, name, more)
  if more ~= 0 then
    redis.call('HINCRBY', prefix .. ':' .. kind, name, string.format('%.0f', more))
    local number = redis.call('INCR', prefix .. ':change')
    redis.call('ZADD', prefix .. ':changes:' .. kind, number, name)
  end
end

local function count(coupon, uses, campaign, amount)
  add('uses', coupon, uses)
  add('spent', campaign, amount)
end

local function release(user, coupon)
  local held = redis.call('HGET', held_of(user), coupon)
  if held then
    local campaign, amount = unpack(cjson.decode(held))
    redis.call('HDEL', held_of(user), coupon)
    redis.call('ZREM', ends, cjson.encode({user, coupon}))
    count(coupon, -1, campaign, -tonumber(amount))
  end
end

local function sweep(now)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now)) do
    release(unpack(cjson.decode(member)))
  end
end
"""

_USAGE = (
    _SHARED
    + """
local user, since, till, now, last = unpack(ARGV)
sweep(now)
local changed = {}
for _, kind in ipairs({'uses', 'spent'}) do
  local pairs_of_kind = {}
  local names = redis.call('ZRANGEBYSCORE', prefix .. ':changes:' .. kind, '(' .. last, '+inf')
  for _, name in ipairs(names) do
    table.insert(pairs_of_kind, name)
    table.insert(pairs_of_kind, redis.call('HGET', prefix .. ':' .. kind, name))
  end
  table.insert(changed, pairs_of_kind)
end
return {
  identity(), redis.call('GET', prefix .. ':change') or '0', changed[1], changed[2],
  redis.call('HVALS', mine_of(user)), redis.call('HGETALL', held_of(user)),
  redis.call('ZRANGEBYSCORE', seen_of(user), '(' .. since, till)}
"""
)

_IDENTITY = _SHARED + "return identity()"

_CLAIM = (
    _SHARED
    + f"""
local user, now, expires, at = unpack(ARGV)
sweep(now)
local on_user = {{}}
local function spend(campaign, amount)
  on_user[campaign] = (on_user[campaign] or 0) + tonumber(amount)
end
for _, text in ipairs(redis.call('HVALS', mine_of(user))) do
  local row = cjson.decode(text)
  spend(row[2], row[4])
end
for _, text in ipairs(redis.call('HVALS', held_of(user))) do
  spend(unpack(cjson.decode(text)))
end

local function value(kind, name)
  return tonumber(redis.call('HGET', prefix .. ':' .. kind, name) or '0')
end

local function failing(coupon, campaign, cost, total, budget, user_budget, has, own)
  local least = math.max(tonumber(cost), 1) - own
  if value('uses', coupon) - has >= tonumber(total) then return '{TOTAL}' end
  if value('spent', campaign) + least > tonumber(budget) then return '{CAMPAIGN}' end
  if (on_user[campaign] or 0) + least > tonumber(user_budget) then return '{USER_BUDGET}' end
end

local failed = {{}}
for start = 5, #ARGV, 8 do
  local coupon, campaign, cost, total, budget, user_budget, reserved, forget =
    unpack(ARGV, start, start + 7)
  local rule = nil
  if reserved == '1' then
    local held = redis.call('HGET', held_of(user), coupon)
    local has, own = held and 1 or 0, held and tonumber(cjson.decode(held)[2]) or 0
    rule = failing(coupon, campaign, cost, total, budget, user_budget, has, own)
    if rule then
      table.insert(failed, coupon)
      table.insert(failed, rule)
    else
      redis.call('HSET', held_of(user), coupon, cjson.encode({{campaign, cost}}))
      redis.call('ZADD', ends, expires, cjson.encode({{user, coupon}}))
      count(coupon, 1 - has, campaign, tonumber(cost) - own)
      spend(campaign, tonumber(cost) - own)
    end
  end
  if not rule and forget ~= '' then
    local number = redis.call('INCR', prefix .. ':impression')
    redis.call('ZADD', seen_of(user), at, cjson.encode({{coupon, at, forget, number}}))
  end
end
for _, text in ipairs(redis.call('ZRANGE', seen_of(user), 0, -1)) do
  if tonumber(cjson.decode(text)[3]) <= tonumber(at) then
    redis.call('ZREM', seen_of(user), text)
  end
end
return failed
"""
)

_REDEEM = (
    _SHARED
    + """
for start = 2, #ARGV, 6 do
  local id, user, coupon, campaign, at, amount = unpack(ARGV, start, start + 5)
  local old = redis.call('HGET', entered, id)
  local new = cjson.encode({user, coupon, campaign, at, amount})
  if old ~= new and (not old or ARGV[1] == '1') then
    if old then
      local u, c, k, _, a = unpack(cjson.decode(old))
      redis.call('HDEL', mine_of(u), id)
      count(c, -1, k, -tonumber(a))
    else
      release(user, coupon)
    end
    redis.call('HSET', entered, id, new)
    redis.call('HSET', mine_of(user), id, cjson.encode({coupon, campaign, at, amount}))
    count(coupon, 1, campaign, tonumber(amount))
  end
end
"""
)


def redis_client(address: str) -> Any:
    """A client of the Redis at ``host:port``: it answers in text, in a second or not at all."""
    import redis

    host, _, port = address.rpartition(":")
    return redis.Redis(
        host or "127.0.0.1",
        int(port),
        decode_responses=True,
        socket_timeout=1.0,
        # A lost connection is made anew; what takes too long would take as long again.
        retry=redis.retry.Retry(redis.backoff.NoBackoff(), 3, (redis.ConnectionError,)),
    )


class RedisLedger:
    """The ledger behind a Redis client that decodes its answers.

    A reservation lives ``seconds`` on the clock ``now``, which gives microseconds.
    """

    def __init__(self, client: Any, seconds: float, now: Callable[[], int]) -> None:
        self._client = client
        self._life = round(seconds * 1_000_000)
        self._now = now
        self._usage = client.register_script(_USAGE)
        self._claim = client.register_script(_CLAIM)
        self._redeem = client.register_script(_REDEEM)
        self._identity = client.register_script(_IDENTITY)
        self._sums = _Sums()
        self._lock = threading.Lock()

    def usage(self, user_id: str, since: int, until: int) -> Usage:
        """See ``Ledger``."""
        sums = self._sums
        last = sums.until
        answer = self._run(self._usage, [user_id, since, until, self._now(), last])
        identity, number, uses, spent, mine, held, seen = answer
        with self._lock:
            if identity == (sums.identity or identity) and int(number) >= last:
                sums.take_in(identity, int(number), uses, spent)
                return _usage(sums.uses, sums.spent, mine, held, seen, until)
            # Somebody emptied Redis: what is remembered is of another ledger.
            self._sums = _Sums()
        return self.usage(user_id, since, until)

    def claim(self, user_id: str, claims: Sequence[Claim], at: int) -> dict[str, str]:
        """See ``Ledger``."""
        now = self._now()
        rows = chain.from_iterable(_arguments(claim, at) for claim in claims)
        failed = self._run(self._claim, [user_id, now, now + self._life, at, *rows])
        return dict(_pairs(failed))

    def redeem(self, redemptions: Sequence[Redemption], corrects: bool = True) -> None:
        """See ``Ledger``."""
        rows = (
            (one.redemption_id, one.user_id, one.coupon_id, one.campaign_id, one.at, one.amount)
            for one in redemptions
        )
        self._run(self._redeem, [int(corrects), *chain.from_iterable(rows)])

    def identity(self) -> str:
        """See ``Ledger``."""
        return self._run(self._identity, [])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _run(self, script: Any, arguments: list) -> Any:
        with _failing():
            return script(keys=[PREFIX], args=arguments)


class _Sums:
    """Uses by coupon and money spent by campaign, as of a change of the ledger of that identity."""

    def __init__(self) -> None:
        self.identity = ""
        self.until = 0
        self.uses: dict[str, int] = {}
        self.spent: dict[str, int] = {}

    def take_in(
        self, identity: str, number: int, uses: Sequence[str], spent: Sequence[str]
    ) -> None:
        """Take in what changed until the change of a number, unless more is known already."""
        if number >= self.until:
            self.identity, self.until = identity, number
            self.uses |= _counts(uses)
            self.spent |= _counts(spent)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise StorageFailed(
            f"The ledger in Redis could not be used ({error}); coupons with limits are not shown "
            "until it can."
        ) from error


def _arguments(claim: Claim, at: int) -> tuple:
    return (
        claim.coupon_id,
        claim.campaign_id,
        claim.cost,
        claim.total_limit,
        claim.campaign_budget,
        claim.user_budget,
        int(claim.reserved),
        at + claim.impression_period if claim.impression_period else "",
    )


def _pairs(flat: Sequence[str]) -> list[tuple[str, str]]:
    return list(pairwise(flat))[::2]


def _counts(flat: Sequence[str]) -> dict[str, int]:
    return {name: int(value) for name, value in _pairs(flat)}


def _usage(
    uses: dict[str, int],
    spent: dict[str, int],
    mine: Sequence[str],
    held: Sequence[str],
    seen: Sequence[str],
    until: int,
) -> Usage:
    """What the script gave, as the rules read it."""
    redeemed = [row for row in map(json.loads, mine) if int(row[2]) <= until]
    reserved = {name: json.loads(text) for name, text in _pairs(held)}
    on_user: dict[str, int] = {}
    for campaign, amount in ((row[1], row[3]) for row in redeemed):
        on_user[campaign] = on_user.get(campaign, 0) + int(amount)
    for campaign, amount in reserved.values():
        on_user[campaign] = on_user.get(campaign, 0) + int(amount)
    return Usage(
        uses,
        spent,
        on_user,
        [(row[0], int(row[2])) for row in redeemed],
        [(row[0], int(row[1])) for row in map(json.loads, seen)],
        {name: (campaign, int(amount)) for name, (campaign, amount) in reserved.items()},
    )
