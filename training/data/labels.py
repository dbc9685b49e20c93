"""Labels: which of the coupons that an exposure brought were redeemed, and when we learned it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.data.frame import NEVER

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """``n`` pairs of an exposure and a candidate coupon, the pairs of an exposure together.

    ``exposure`` and ``coupon`` are rows of the tables they were made from, in ascending order of
    exposure, then of coupon. ``label`` is int8. ``learned`` is the instant at which the first
    redemption became known, ``NEVER`` without one; ``open_until`` the coupon's ``valid_to``. Both
    are int64 microseconds.
    """

    exposure: np.ndarray
    coupon: np.ndarray
    label: np.ndarray
    learned: np.ndarray
    open_until: np.ndarray

    def __len__(self) -> int:
        return len(self.exposure)


def label_pairs(
    exposures: Mapping[str, Sequence],
    coupons: Mapping[str, Sequence],
    redemptions: Mapping[str, Sequence],
) -> Pairs:
    """Pair every exposure with the coupons of its campaign and label the pairs.

    The tables are Arrow tables or mappings of arrays in contract columns, one row a key: of
    exposures ``user_id, campaign_id, event_timestamp``, of coupons ``coupon_id, campaign_id,
    valid_to``, of redemptions ``user_id, coupon_id, event_timestamp, created_timestamp``. A label
    is 1 if the user redeemed the coupon in ``[exposure, valid_to)``. A coupon that had already
    ended at the exposure was no candidate and makes no pair. A user who was exposed to a campaign
    twice has the redemption in both groups.
    """
    grid = _Grid.of(_ids(exposures["campaign_id"]), _ids(coupons["campaign_id"]))
    exposed = instants(exposures["event_timestamp"])
    closed = instants(coupons["valid_to"])
    learned = np.full(grid.pair_count, NEVER)
    row, pair, exposure, coupon = _matches(exposures, coupons, redemptions, grid)
    redeemed = instants(redemptions["event_timestamp"])[row]
    in_time = (redeemed >= exposed[exposure]) & (redeemed < closed[coupon])
    known = instants(redemptions["created_timestamp"])[row]
    np.minimum.at(learned, pair[in_time], known[in_time])
    pairs = _candidates(grid, exposed, closed, learned)
    logger.info("labelled %d pairs, %d redeemed", len(pairs), int(pairs.label.sum()))
    return pairs


def instants(values: Sequence) -> np.ndarray:
    """Timestamps as int64 microseconds since the epoch.

    Takes Arrow or NumPy timestamps of any unit, or int64 microseconds. Raises TypeError else.
    """
    array = np.asarray(values)
    if array.dtype.kind == "M":
        return array.astype("datetime64[us]").astype(np.int64)
    if array.dtype == np.int64:
        return array
    raise TypeError(
        f"Expected timestamps or int64 microseconds, got {array.dtype}: pass columns of the "
        "contract's tables."
    )


@dataclass(frozen=True)
class _Grid:
    """Every exposure with every coupon of its campaign, as runs of one sorted coupon order.

    Exposure ``e`` has the coupons ``order[first[e]:first[e] + size[e]]`` and its pairs begin at
    ``start[e]``; ``place[c]`` is where coupon ``c`` stands within its campaign.
    """

    order: np.ndarray
    place: np.ndarray
    first: np.ndarray
    size: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, exposed: np.ndarray, carried: np.ndarray) -> "_Grid":
        code = _codes(carried)
        exposure, coupon = _encode(exposed, code), _encode(carried, code)
        order = np.argsort(coupon, kind="stable")
        count = np.bincount(coupon, minlength=len(code) + 1)
        begin = np.cumsum(count) - count
        place = np.empty(len(coupon), dtype=np.int64)
        place[order] = np.arange(len(coupon)) - begin[coupon[order]]
        size = count[exposure]
        return cls(order, place, begin[exposure], size, np.cumsum(size) - size)

    @property
    def pair_count(self) -> int:
        return int(self.size.sum())


def _matches(
    exposures: Mapping[str, Sequence],
    coupons: Mapping[str, Sequence],
    redemptions: Mapping[str, Sequence],
    grid: _Grid,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Each redemption with every exposure of its user to its campaign.

    Returns the redemption's row, the pair, the exposure's row and the coupon's row, one entry a
    match. A redemption of an unknown coupon or by a user who was not exposed has none.
    """
    users = _codes(_ids(exposures["user_id"]))
    campaigns = _codes(_ids(exposures["campaign_id"]))
    coupon = _encode(_ids(redemptions["coupon_id"]), _codes(_ids(coupons["coupon_id"])))
    redeemer = _encode(_ids(redemptions["user_id"]), users)
    carrier = np.append(_encode(_ids(coupons["campaign_id"]), campaigns), len(campaigns))
    width = len(campaigns) + 1
    wanted = redeemer * width + carrier[coupon]
    held = _encode(_ids(exposures["user_id"]), users) * width
    held += _encode(_ids(exposures["campaign_id"]), campaigns)
    row, exposure = _join(wanted, held)
    return row, grid.start[exposure] + grid.place[coupon[row]], exposure, coupon[row]


def _join(wanted: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of every pair of equal keys."""
    order = np.argsort(held, kind="stable")
    ordered = held[order]
    low, high = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
    row, place = _runs(low, high - low)
    return row, order[place]


def _candidates(grid: _Grid, exposed: np.ndarray, closed: np.ndarray, learned: np.ndarray) -> Pairs:
    exposure, place = _runs(grid.first, grid.size)
    coupon = grid.order[place]
    live = closed[coupon] > exposed[exposure]
    exposure, coupon, learned = exposure[live], coupon[live], learned[live]
    return Pairs(exposure, coupon, (learned < NEVER).astype(np.int8), learned, closed[coupon])


def _runs(first: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unfold runs: which run each element belongs to, and the element."""
    run = np.repeat(np.arange(len(size)), size)
    offset = np.arange(len(run)) - np.repeat(np.cumsum(size) - size, size)
    return run, first[run] + offset


def _ids(values: Sequence) -> np.ndarray:
    return np.asarray(values, dtype=object)


def _codes(values: np.ndarray) -> dict[str, int]:
    return {value: code for code, value in enumerate(dict.fromkeys(values))}


def _encode(values: np.ndarray, codes: Mapping[str, int]) -> np.ndarray:
    """The code of every value; one past the last for a value that has none."""
    return np.fromiter((codes.get(value, len(codes)) for value in values), np.int64, len(values))
