"""Lua scripts that compare and set rows of a view in Redis.

Redis runs a script atomically, so two writers cannot interleave. A view's row is in Feast's own
form: a field for each feature, and ``_ts:<view>`` with the event's instant. If a row was learned at
another instant than its event, ``_created:<view>`` has both instants. It counts only while ``_ts``
is still that event, because Feast's own store may have written since.
"""

from collections.abc import Sequence
from functools import lru_cache

from feature_repo.feast_internals import feature_field

_FIELDS_PER_CALL = 100

# Reads two's complement from the inverted bits, since Lua's numbers are doubles.
_TIMESTAMP = """
local function varint(text, at)
  local value, inverse, scale = 0, 0, 1
  for length = 1, 10 do
    local byte = text:byte(at)
    if length < 10 then
      value = value + (byte % 128) * scale
      inverse = inverse + (127 - byte % 128) * scale
      scale = scale * 128
    elseif byte % 2 == 1 then
      value = -inverse - 1
    end
    at = at + 1
    if byte < 128 then break end
  end
  return value, at
end
local function moment(text)
  local seconds, nanos, at = 0, 0, 1
  while at <= #text do
    if text:byte(at) == 8 then seconds, at = varint(text, at + 1)
    else nanos, at = varint(text, at + 1) end
  end
  return seconds, nanos
end
local function before(a, b)
  if a == b then return false end
  local as, an = moment(a)
  local bs, bn = moment(b)
  return as < bs or (as == bs and an < bn)
end
"""

_EACH = """
local size, done = #ARGV / #KEYS, 0
for number, key in ipairs(KEYS) do
  done = done + row(key, (number - 1) * size)
end
return done
"""
"""Calls ``row`` with each key and the offset of its arguments (the first one's index less 1)."""

_WRITE = """
local function row(key, at)
  local event, created, bound = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local held, note = redis.call('HGET', key, {ts}), false
  if held then
    note = redis.call('HGET', key, {created})
    local learned, named = held, string.char(#held) .. held
    if note and note:sub(1, #named) == named then learned = note:sub(#named + 1) end
    local older = before(event, held)
      or (not before(held, event) and before(created == '' and event or created, learned))
    if older and not (bound ~= '-' and before(held, bound)) then return 0 end
  end
  {sets}
  if created ~= '' then
    redis.call('HSET', key, {created}, string.char(#event) .. event .. created)
  elseif note then redis.call('HDEL', key, {created}) end
  {expire}
  return 1
end
"""

_REMOVE = """
local function row(key, at)
  local held = redis.call('HGET', key, {ts})
  if not held or not before(held, ARGV[at + 1]) then return 0 end
  {removes}
  return 1
end
"""

TAKE = """
local held = redis.call('HGET', KEYS[1], 'mark') or ''
if ARGV[4] ~= '*' and ARGV[4] ~= held then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], '', 'run', ARGV[2], 'mark', ARGV[3])
return 1
"""
ADVANCE = """
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'mark', ARGV[2])
return 1
"""
"""TAKE replaces the mark that a run has read. ADVANCE stores its progress if it still owns it."""


def timestamp_field(view: str) -> bytes:
    """Returns the field of the event's instant in a view's row, as Feast names it."""
    return f"_ts:{view}".encode()


def created_field(view: str) -> bytes:
    """Returns our field of the instant at which a row was learned, with its event's instant."""
    return f"_created:{view}".encode()


@lru_cache(maxsize=256)
def write_script(view: str, features: tuple[str, ...], expire: int | None) -> str:
    """Returns a script that sets rows, each unless a newer one is stored; it counts those set.

    ARGV for each key: event and created as Timestamp (empty: the same as the event), the bound,
    and the values of the features. A stored row of an event before the bound is replaced in any
    case; ``-`` is no bound.
    """
    fields = [timestamp_field(view), *(feature_field(view, name) for name in features)]
    values = ["event", *(f"ARGV[at + {number}]" for number in range(4, 4 + len(features)))]
    pairs = [f"{_literal(field)}, {value}" for field, value in zip(fields, values, strict=True)]
    row = _WRITE.format(
        ts=_literal(fields[0]),
        created=_literal(created_field(view)),
        sets=_commands("HSET", pairs),
        expire=f"redis.call('EXPIRE', key, {expire})" if expire else "",
    )
    return _TIMESTAMP + row + _EACH


@lru_cache(maxsize=256)
def remove_script(view: str, features: tuple[str, ...]) -> str:
    """Returns a script that removes rows of events before ARGV, and counts them.

    ARGV has one instant for each key.
    """
    fields = [timestamp_field(view), created_field(view)]
    fields += [feature_field(view, name) for name in features]
    removes = _commands("HDEL", [_literal(field) for field in fields])
    return _TIMESTAMP + _REMOVE.format(ts=_literal(fields[0]), removes=removes) + _EACH


def _commands(name: str, arguments: Sequence[str]) -> str:
    """Splits a command whose arguments would exceed Lua's registers."""
    parts = (
        arguments[start : start + _FIELDS_PER_CALL]
        for start in range(0, len(arguments), _FIELDS_PER_CALL)
    )
    return "\n".join(f"redis.call('{name}', key, {', '.join(part)})" for part in parts)


def _literal(field: bytes) -> str:
    return "'" + "".join(f"\\{byte:03d}" for byte in field) + "'"
