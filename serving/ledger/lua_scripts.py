"""Lua scripts of the ledger in Redis, one for each method.

Instants and amounts are passed as text, as Lua's JSON would round large numbers.
"""

from serving.ledger.ledger import CAMPAIGN, FREQUENCY, TOTAL, USER_BUDGET

_DAY_MS = 86_400_000
"""Milliseconds that impressions stay beyond their period, as the clock of Redis may differ."""

_SHARED = """
local prefix = KEYS[1]
local ends, entered = prefix .. ':ends', prefix .. ':redemptions'
local function held_of(user) return prefix .. ':held:' .. user end
local function mine_of(user) return prefix .. ':mine:' .. user end
local function seen_of(user) return prefix .. ':seen:' .. user end
local backs = prefix .. ':taken_back'
local function backs_of(user) return prefix .. ':taken_back:' .. user end

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

USAGE = (
    _SHARED
    + """
local user, holder, since, till, now, last = unpack(ARGV)
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
  redis.call('HVALS', mine_of(user)), redis.call('HGETALL', held_of(holder)),
  redis.call('ZRANGEBYSCORE', seen_of(holder), '(' .. since, till),
  redis.call('HVALS', backs_of(user))}
"""
)

IDENTITY = _SHARED + "return identity()"

CLAIM = (
    _SHARED
    + f"""
local user, holder, now, expires, at = unpack(ARGV)
sweep(now)
local on_user = {{}}
local function spend(campaign, amount)
  on_user[campaign] = (on_user[campaign] or 0) + tonumber(amount)
end
for _, text in ipairs(redis.call('HVALS', mine_of(user))) do
  local row = cjson.decode(text)
  spend(row[2], row[4])
end
for _, text in ipairs(redis.call('HVALS', held_of(holder))) do
  spend(unpack(cjson.decode(text)))
end

local function value(kind, name)
  return tonumber(redis.call('HGET', prefix .. ':' .. kind, name) or '0')
end

local function failed_rule(coupon, campaign, cost, total, budget, user_budget, has, own)
  local least = math.max(tonumber(cost), 1) - own
  if value('uses', coupon) - has >= tonumber(total) then return '{TOTAL}' end
  if value('spent', campaign) + least > tonumber(budget) then return '{CAMPAIGN}' end
  if (on_user[campaign] or 0) + least > tonumber(user_budget) then return '{USER_BUDGET}' end
end

local seen = {{}}
for _, text in ipairs(redis.call('ZRANGE', seen_of(holder), 0, -1)) do
  local coupon, instant, forget = unpack(cjson.decode(text))
  if tonumber(forget) <= tonumber(at) then
    redis.call('ZREM', seen_of(holder), text)
  else
    seen[coupon] = seen[coupon] or {{}}
    table.insert(seen[coupon], tonumber(instant))
  end
end

local function forget_after(milliseconds)
  if redis.call('PTTL', seen_of(holder)) < milliseconds then
    redis.call('PEXPIRE', seen_of(holder), string.format('%.0f', milliseconds))
  end
end

local function is_frequency_reached(coupon, period, most)
  local near = 0
  for _, instant in ipairs(seen[coupon] or {{}}) do
    if math.abs(instant - tonumber(at)) < tonumber(period) then near = near + 1 end
  end
  return near >= tonumber(most)
end

local function reserve(coupon, campaign, cost, has, own)
  redis.call('HSET', held_of(holder), coupon, cjson.encode({{campaign, cost}}))
  redis.call('ZADD', ends, expires, cjson.encode({{holder, coupon}}))
  count(coupon, 1 - has, campaign, tonumber(cost) - own)
  spend(campaign, tonumber(cost) - own)
end

local failed = {{}}
for start = 6, #ARGV, 10 do
  local coupon, campaign, cost, total, budget, user_budget, reserved, forget, period, most =
    unpack(ARGV, start, start + 9)
  local held = redis.call('HGET', held_of(holder), coupon)
  local has, own = held and 1 or 0, held and tonumber(cjson.decode(held)[2]) or 0
  local rule = failed_rule(coupon, campaign, cost, total, budget, user_budget, has, own)
  if not rule and is_frequency_reached(coupon, period, most) then rule = '{FREQUENCY}' end
  if rule then
    table.insert(failed, coupon)
    table.insert(failed, rule)
  else
    if reserved == '1' then reserve(coupon, campaign, cost, has, own) end
    if forget ~= '' then
      local number = redis.call('INCR', prefix .. ':impression')
      redis.call('ZADD', seen_of(holder), at, cjson.encode({{coupon, at, forget, number}}))
      forget_after(math.ceil(tonumber(period) / 1000) + {_DAY_MS})
    end
  end
end
return failed
"""
)

REDEEM = (
    _SHARED
    + """
local function enter(id, user, coupon, campaign, at, amount, holder)
  local old = redis.call('HGET', entered, id)
  if old then
    local u, c, k, _, a = unpack(cjson.decode(old))
    redis.call('HDEL', mine_of(u), id)
    count(c, -1, k, -tonumber(a))
  else
    release(user, coupon)
    release(holder, coupon)
  end
  redis.call('HSET', entered, id, cjson.encode({user, coupon, campaign, at, amount}))
  redis.call('HSET', mine_of(user), id, cjson.encode({coupon, campaign, at, amount}))
  count(coupon, 1, campaign, tonumber(amount))
end

local function give_again(id, back)
  redis.call('HDEL', backs, id)
  redis.call('HDEL', backs_of(cjson.decode(back)[1]), id)
end

for start = 2, #ARGV, 7 do
  local id, user, coupon, campaign, at, amount, holder = unpack(ARGV, start, start + 6)
  local corrects, back = ARGV[1] == '1', redis.call('HGET', backs, id)
  local is_gone = false
  if back and corrects then give_again(id, back) end
  if back and not corrects then
    local keeps = cjson.decode(back)[2]
    redis.call('HSET', backs, id, cjson.encode({user, keeps}))
    if keeps == '1' then
      amount = '0'
    else
      redis.call('HSET', backs_of(user), id, coupon)
      release(user, coupon)
      release(holder, coupon)
      is_gone = true
    end
  end
  local old = redis.call('HGET', entered, id)
  local new = cjson.encode({user, coupon, campaign, at, amount})
  if not is_gone and old ~= new and (not old or corrects) then
    enter(id, user, coupon, campaign, at, amount, holder)
  end
end
"""
)

TAKE_BACK = (
    _SHARED
    + """
for place = 2, #ARGV do
  local id, keeps = ARGV[place], ARGV[1]
  local old = redis.call('HGET', entered, id)
  if old then
    local user, coupon, campaign, at, amount = unpack(cjson.decode(old))
    redis.call('HSET', backs, id, cjson.encode({user, keeps}))
    if keeps == '1' then
      redis.call('HSET', entered, id, cjson.encode({user, coupon, campaign, at, '0'}))
      redis.call('HSET', mine_of(user), id, cjson.encode({coupon, campaign, at, '0'}))
      count(coupon, 0, campaign, -tonumber(amount))
    else
      redis.call('HDEL', entered, id)
      redis.call('HDEL', mine_of(user), id)
      redis.call('HSET', backs_of(user), id, coupon)
      count(coupon, -1, campaign, -tonumber(amount))
    end
  else
    redis.call('HSETNX', backs, id, cjson.encode({'', keeps}))
  end
end
"""
)
