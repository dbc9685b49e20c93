"""The candidates of requests: the coupons that a user could be shown at an instant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.data.joins import codes, encode, ids, join, runs
from training.data.labels import instants

_LIMIT = 1
"""Most redemptions of a coupon by one user where the coupon states none."""

Table = Mapping[str, Sequence[Any]]
"""An Arrow table, or arrays by column name."""


@dataclass(frozen=True)
class _Groups:
    """Coupons that are candidates together: one group for each campaign, and one for all users.

    The coupons of group ``g`` are ``order[first[g]:first[g] + size[g]]``. One of them at least is
    valid within ``[opens[g], closes[g])``. The last group has the coupons of an open audience.
    """

    order: np.ndarray
    first: np.ndarray
    size: np.ndarray
    opens: np.ndarray
    closes: np.ndarray

    def coupons(self, group: int) -> np.ndarray:
        """Returns the rows of the coupons of a group."""
        return self.order[self.first[group] : self.first[group] + self.size[group]]

    @classmethod
    def of(cls, group: np.ndarray, count: int, opens: np.ndarray, closes: np.ndarray) -> "_Groups":
        size = np.bincount(group, minlength=count)
        first, last = np.full(count, np.iinfo(np.int64).max), np.zeros(count, dtype=np.int64)
        np.minimum.at(first, group, opens)
        np.maximum.at(last, group, closes)
        order = np.argsort(group, kind="stable")
        return cls(order, np.cumsum(size) - size, size, first, last)


@dataclass(frozen=True)
class Candidates:
    """Exposures, coupons and redemptions as arrays, which candidates are found in.

    A coupon is a candidate at an instant ``t`` with ``opens <= t < closes``: from ``valid_from`` on
    and after its announcement, until ``valid_to``. A targeted coupon also needs an exposure of the
    user to its campaign that is known strictly before ``t``. A coupon that the user redeemed
    ``limit`` times, as known strictly before ``t``, is no candidate any more.

    ``reached`` are the exposures: user, campaign and instant from which each is known. ``used`` are
    the redemptions: user x coupon and the same instant.
    """

    users: Mapping[str, int]
    groups: _Groups
    opens: np.ndarray
    closes: np.ndarray
    limit: np.ndarray
    reached: tuple[np.ndarray, np.ndarray, np.ndarray]
    used: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(
        cls, users: Mapping[str, int], exposures: Table, coupons: Table, redemptions: Table
    ) -> "Candidates":
        """Encodes the tables for these users; other users' rows have no effect.

        Of coupons these columns are read: ``coupon_id, campaign_id, audience, valid_from, valid_to,
        per_user_limit`` and ``announced_timestamp``, from which its first version is known.
        """
        campaigns = codes(ids(coupons["campaign_id"]))
        is_open = ids(coupons["audience"]) == "open"
        group = np.where(is_open, len(campaigns), encode(ids(coupons["campaign_id"]), campaigns))
        opens = np.maximum(
            instants(coupons["valid_from"]), instants(coupons["announced_timestamp"]) + 1
        )
        closes = instants(coupons["valid_to"])
        limits = [_LIMIT if one is None else int(one) for one in _values(coupons["per_user_limit"])]
        return cls(
            users,
            _Groups.of(group, len(campaigns) + 1, opens, closes),
            opens,
            closes,
            np.array(limits, dtype=np.int64),
            _reached(users, campaigns, exposures),
            _used(users, codes(ids(coupons["coupon_id"])), redemptions),
        )

    def groups_of(self, user: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds the groups with a candidate for each request: request and group, unordered.

        ``user`` has codes of users, ``at`` instants in microseconds.
        """
        of_user, campaign, known = self.reached
        request, exposure = join(user, of_user)
        seen = known[exposure] < at[request]
        request, group = request[seen], campaign[exposure[seen]]
        everyone = np.arange(len(user))
        last = len(self.groups.size) - 1
        request = np.concatenate([request, everyone])
        group = np.concatenate([group, np.full(len(user), last)])
        is_open = (self.groups.opens[group] <= at[request]) & (
            at[request] < self.groups.closes[group]
        )
        return request[is_open], group[is_open]

    def at_most(self, user: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Returns an upper bound of the number of candidates of each request."""
        request, group = self.groups_of(user, at)
        found = np.bincount(request, self.groups.size[group], minlength=len(user))
        return found.astype(np.int64)

    def find(self, user: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds the candidates of each request: request and coupon row, in this order."""
        request, group = self.groups_of(user, at)
        run, place = runs(self.groups.first[group], self.groups.size[group])
        request, coupon = request[run], self.groups.order[place]
        t = at[request]
        is_valid = (self.opens[coupon] <= t) & (t < self.closes[coupon])
        request, coupon = request[is_valid], coupon[is_valid]
        order = np.argsort(request * len(self.opens) + coupon)
        request, coupon = request[order], coupon[order]
        is_left = self._times_used(user, at, request, coupon) < self.limit[coupon]
        return request[is_left], coupon[is_left]

    def _times_used(
        self, user: np.ndarray, at: np.ndarray, request: np.ndarray, coupon: np.ndarray
    ) -> np.ndarray:
        keys, known = self.used
        pair, use = join(user[request] * len(self.opens) + coupon, keys)
        is_known = known[use] < at[request[pair]]
        return np.bincount(pair[is_known], minlength=len(request))


def _reached(
    users: Mapping[str, int], campaigns: Mapping[str, int], exposures: Table
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns user, campaign and the earliest instant of learning of each exposed user."""
    user, campaign = encode(ids(exposures["user_id"]), users), ids(exposures["campaign_id"])
    key, member = np.unique(
        user * (len(campaigns) + 1) + encode(campaign, campaigns), return_inverse=True
    )
    known = np.full(len(key), np.iinfo(np.int64).max)
    np.minimum.at(known, member, known_from(exposures))
    user, campaign = np.divmod(key, len(campaigns) + 1)
    ours = (user < len(users)) & (campaign < len(campaigns))
    return user[ours], campaign[ours], known[ours]


def _used(
    users: Mapping[str, int], coupons: Mapping[str, int], redemptions: Table
) -> tuple[np.ndarray, np.ndarray]:
    user, coupon = (
        encode(ids(redemptions["user_id"]), users),
        encode(ids(redemptions["coupon_id"]), coupons),
    )
    ours = (user < len(users)) & (coupon < len(coupons))
    return (user * len(coupons) + coupon)[ours], known_from(redemptions)[ours]


def known_from(table: Table) -> np.ndarray:
    """Returns the instant of each row after which it is known: it happened and was learned."""
    return np.maximum(instants(table["event_timestamp"]), instants(table["created_timestamp"]))


def _values(column: Sequence[Any]) -> Sequence[Any]:
    return column.to_pylist() if hasattr(column, "to_pylist") else column
