"""Labels of requests: coupons redeemed at this visit, and at this visit or later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from feature_repo.instants import DAY
from feature_repo.names import CHECKOUT, HOME
from training.data.candidates import Candidates, Table, known_from
from training.data.frame import NEVER
from training.data.joins import codes, encode, ids, join
from training.data.labels import instants


@dataclass(frozen=True)
class RequestPairs:
    """``n`` pairs of a request and a candidate coupon, ordered by request, then by coupon.

    ``request`` and ``coupon`` are row numbers of the source tables. ``label`` and ``later`` (int8)
    and ``learned`` are those of a `RankingFrame`.
    """

    request: np.ndarray
    coupon: np.ndarray
    label: np.ndarray
    later: np.ndarray
    learned: np.ndarray

    def __len__(self) -> int:
        return len(self.request)

    def take(self, rows: np.ndarray) -> "RequestPairs":
        """Selects pairs by a Boolean mask."""
        return RequestPairs(*(getattr(self, one.name)[rows] for one in fields(self)))


def joined(parts: Sequence[RequestPairs]) -> RequestPairs:
    """Concatenates parts whose requests are in order."""
    names = [one.name for one in fields(RequestPairs)]
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
    return RequestPairs(*columns)


@dataclass(frozen=True)
class Redemptions:
    """Redemptions by users with requests, of coupons with a row.

    ``user`` and ``basket`` are codes, ``coupon`` is a row. A redemption without a basket has the
    basket -1. ``at`` is when the coupon was used, ``known`` when that became known.
    """

    user: np.ndarray
    coupon: np.ndarray
    basket: np.ndarray
    at: np.ndarray
    known: np.ndarray


@dataclass(frozen=True)
class RequestLabels:
    """Labels the candidates of requests.

    ``user`` (code) and ``at`` have a value for each request, ``redemptions`` all redemptions.
    ``visit`` are the redemptions that belong to a request: request and redemption.
    """

    candidates: Candidates
    user: np.ndarray
    at: np.ndarray
    redemptions: Redemptions
    visit: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(
        cls, requests: Table, exposures: Table, coupons: Table, redemptions: Table
    ) -> "RequestLabels":
        """Prepares the labels of requests, in the columns of `feature_repo.sources.requests`."""
        users, basket_ids = codes(ids(requests["user_id"])), ids(requests["basket_id"])
        baskets = codes(basket_ids[[one is not None for one in basket_ids]])
        user, at = encode(ids(requests["user_id"]), users), instants(requests["event_timestamp"])
        basket = _encoded(requests["basket_id"], baskets)
        used = _redemptions(redemptions, users, codes(ids(coupons["coupon_id"])), baskets)
        found = []
        for ranker in (HOME.key, CHECKOUT.key):
            rows = np.flatnonzero(np.asarray(requests[ranker], dtype=bool))
            request, redemption = visits(user[rows], at[rows], basket[rows], used)
            found.append(np.stack([rows[request], redemption]))
        request, redemption = np.unique(np.concatenate(found, axis=1), axis=1)
        candidates = Candidates.of(users, exposures, coupons, redemptions)
        return cls(candidates, user, at, used, (request, redemption))

    def pairs(self, rows: np.ndarray) -> RequestPairs:
        """Finds and labels the candidates of some requests, by ascending row numbers."""
        found, coupon = self.candidates.find(self.user[rows], self.at[rows])
        request = rows[found]
        learned = self._learned(request, coupon)
        label = learned < NEVER
        later = label | self._is_used_later(request, coupon)
        return RequestPairs(request, coupon, label.astype(np.int8), later.astype(np.int8), learned)

    def _learned(self, request: np.ndarray, coupon: np.ndarray) -> np.ndarray:
        """Returns the instant at which the redemption at the visit became known; else NEVER."""
        of_request, redemption = self.visit
        keys = self._key(of_request, self.redemptions.coupon[redemption])
        pair, place = join(self._key(request, coupon), keys)
        learned = np.full(len(request), NEVER)
        np.minimum.at(learned, pair, self.redemptions.known[redemption[place]])
        return learned

    def _is_used_later(self, request: np.ndarray, coupon: np.ndarray) -> np.ndarray:
        used = self.redemptions
        keys = self._key(used.user, used.coupon)
        pair, use = join(self._key(self.user[request], coupon), keys)
        is_open = used.at[use] < self.candidates.closes[coupon[pair]]
        found = np.zeros(len(request), dtype=bool)
        found[pair[is_open & (used.at[use] >= self.at[request[pair]])]] = True
        return found

    def _key(self, row: np.ndarray, coupon: np.ndarray) -> np.ndarray:
        return row * len(self.candidates.closes) + coupon


def visits(
    user: np.ndarray, at: np.ndarray, basket: np.ndarray, redemptions: Redemptions
) -> tuple[np.ndarray, np.ndarray]:
    """Matches redemptions with the requests at which they happened: request and redemption.

    A redemption belongs to the request of its user with its basket if there is one, else to the
    user's last request at or before it within 24 hours, else to none. ``user``, ``at`` and
    ``basket`` (-1 for none) have a value for each request, ordered by ``at``.
    """
    width = max(basket.max(initial=0), redemptions.basket.max(initial=0)) + 1
    with_basket = np.flatnonzero(basket >= 0)
    stated = np.flatnonzero(redemptions.basket >= 0)
    redemption, request = join(
        (redemptions.user * width + redemptions.basket)[stated],
        (user * width + basket)[with_basket],
    )
    redemption, request = stated[redemption], with_basket[request]
    left = np.setdiff1d(np.arange(len(redemptions.user)), redemption)
    last = _last_before(user, at, redemptions.user[left], redemptions.at[left])
    found = last >= 0
    return np.append(request, last[found]), np.append(redemption, left[found])


def _last_before(
    user: np.ndarray, at: np.ndarray, by: np.ndarray, before: np.ndarray
) -> np.ndarray:
    """Returns each user's last request in ``[before - 24 hours, before]``; -1 if there is none."""
    if not len(user):
        return np.full(len(by), -1)
    # Ranks of instants are small, so that user and rank fit one number.
    moments = np.unique(at)
    width = len(moments) + 1
    keys = user * width + np.searchsorted(moments, at)
    order = np.argsort(keys, kind="stable")
    last_rank = np.searchsorted(moments, before, "right") - 1
    place = np.searchsorted(keys[order], by * width + last_rank, "right") - 1
    request = order[np.maximum(place, 0)]
    is_theirs = (place >= 0) & (user[request] == by) & (at[request] >= before - DAY)
    return np.where(is_theirs & (at[request] <= before), request, -1)


def _redemptions(
    table: Table,
    users: Mapping[str, int],
    coupons: Mapping[str, int],
    baskets: Mapping[str, int],
) -> Redemptions:
    user, coupon = encode(ids(table["user_id"]), users), encode(ids(table["coupon_id"]), coupons)
    ours = (user < len(users)) & (coupon < len(coupons))
    columns = (
        user,
        coupon,
        _encoded(table["basket_id"], baskets),
        instants(table["event_timestamp"]),
        known_from(table),
    )
    return Redemptions(*(values[ours] for values in columns))


def _encoded(baskets: Sequence[str | None], known: Mapping[str, int]) -> np.ndarray:
    """Returns the code of each basket, -1 for none and for one without a request."""
    found = encode(ids(baskets), known)
    return np.where(found < len(known), found, -1)
