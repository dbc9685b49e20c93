"""The ledger in Redis: shared by the services of several machines.

Every call is one Lua script, which Redis runs atomically. All keys have the same hash tag, so that
they are on one node of a cluster.
"""

import json
import threading
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import Any

from redis.exceptions import RedisError

from serving.errors import StorageFailed, translated
from serving.ledger.ledger import Claim, Redemption, Usage
from serving.ledger.lua_scripts import CLAIM, IDENTITY, REDEEM, TAKE_BACK, USAGE
from serving.ledger.usage_sums import UsageSums

PREFIX = "{clipwise:ledger}"


def redis_client(address: str) -> Any:
    """Returns a client of the Redis at ``host:port``, with text answers and a timeout of 1 s."""
    import redis

    host, _, port = address.rpartition(":")
    return redis.Redis(
        host or "127.0.0.1",
        int(port),
        decode_responses=True,
        socket_timeout=1.0,
        # Retries a lost connection only: after a timeout, a retry would take as long again.
        retry=redis.retry.Retry(redis.backoff.NoBackoff(), 3, (redis.ConnectionError,)),
    )


class RedisLedger:
    """A ledger behind a Redis client that decodes its answers.

    A reservation expires after ``seconds`` on the clock ``now``, which returns microseconds.
    """

    def __init__(self, client: Any, seconds: float, now: Callable[[], int]) -> None:
        self._client = client
        self._life = round(seconds * 1_000_000)
        self._now = now
        self._usage = client.register_script(USAGE)
        self._claim = client.register_script(CLAIM)
        self._redeem = client.register_script(REDEEM)
        self._take_back = client.register_script(TAKE_BACK)
        self._identity = client.register_script(IDENTITY)
        self._sums = UsageSums()
        self._lock = threading.Lock()

    def usage(self, user_id: str, since: int, until: int, holder: str | None = None) -> Usage:
        """See ``Ledger``."""
        sums = self._sums
        last = sums.change
        given = [user_id, holder or user_id, since, until, self._now(), last]
        identity, number, uses, spent, *of_user = self._run(self._usage, given)
        with self._lock:
            if identity == (sums.identity or identity) and int(number) >= last:
                sums.identity = identity
                sums.update(int(number), _counts(uses), _counts(spent))
                return _usage(sums.uses, sums.spent, of_user, until)
            # Redis was emptied: the cached sums are of another ledger.
            self._sums = UsageSums()
        return self.usage(user_id, since, until, holder)

    def claim(
        self, user_id: str, claims: Sequence[Claim], at: int, holder: str | None = None
    ) -> dict[str, str]:
        """See ``Ledger``."""
        now = self._now()
        rows = chain.from_iterable(_arguments(claim, at) for claim in claims)
        failed = self._run(
            self._claim, [user_id, holder or user_id, now, now + self._life, at, *rows]
        )
        return dict(_pairs(failed))

    def redeem(self, redemptions: Sequence[Redemption], corrects: bool = True) -> None:
        """See ``Ledger``."""
        rows = (
            (
                one.redemption_id,
                one.user_id,
                one.coupon_id,
                one.campaign_id,
                one.at,
                one.amount,
                one.holder or one.user_id,
            )
            for one in redemptions
        )
        self._run(self._redeem, [int(corrects), *chain.from_iterable(rows)])

    def take_back(self, redemption_ids: Sequence[str], keeps_use: bool = False) -> None:
        """See ``Ledger``."""
        self._run(self._take_back, [int(keeps_use), *redemption_ids])

    def identity(self) -> str:
        """See ``Ledger``."""
        return self._run(self._identity, [])

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _run(self, script: Any, arguments: list[Any]) -> Any:
        with translated(RedisError, _failure):
            return script(keys=[PREFIX], args=arguments)


def _failure(error: Exception) -> StorageFailed:
    return StorageFailed(
        f"The ledger in Redis could not be used ({error}); coupons with limits are not shown "
        "until it can."
    )


def _arguments(claim: Claim, at: int) -> tuple[str | int, ...]:
    """Returns the ten arguments of a claim, in the order of the script."""
    return (
        claim.coupon_id,
        claim.campaign_id,
        claim.cost,
        claim.total_limit,
        claim.campaign_budget,
        claim.user_budget,
        int(claim.reserved),
        at + claim.impression_period if claim.impression_period else "",
        claim.impression_period,
        claim.impression_limit,
    )


def _pairs(flat: Sequence[str]) -> list[tuple[str, str]]:
    return list(pairwise(flat))[::2]


def _counts(flat: Sequence[str]) -> dict[str, int]:
    return {name: int(value) for name, value in _pairs(flat)}


def _usage(
    uses: dict[str, int], spent: dict[str, int], of_user: Sequence[Sequence[str]], until: int
) -> Usage:
    """Builds the usage of a user from the answer of the script: the four parts ``of_user``."""
    mine, held, seen, taken_back = of_user
    redeemed = [row for row in map(json.loads, mine) if int(row[2]) < until]
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
        taken_back,
    )
