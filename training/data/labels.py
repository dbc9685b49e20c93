"""Labels: the coupons of an exposure that were redeemed, and when the redemption became known."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.data.frame import NEVER
from training.data.joins import codes, encode, ids, join, runs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """``n`` pairs of an exposure and a candidate coupon, ordered by exposure, then by coupon.

    ``exposure`` and ``coupon`` are row numbers of the source tables. ``label`` is int8. ``learned``
    is the instant at which the first redemption became known, or ``NEVER``. ``open_until`` is the
    coupon's ``valid_to``. Both are int64 microseconds.
    """

    exposure: np.ndarray
    coupon: np.ndarray
    label: np.ndarray
    learned: np.ndarray
    open_until: np.ndarray

    def __len__(self) -> int:
        return len(self.exposure)


def label_pairs(
    exposures: Mapping[str, Sequence[Any]],
    coupons: Mapping[str, Sequence[Any]],
    redemptions: Mapping[str, Sequence[Any]],
) -> Pairs:
    """Pairs every exposure with the coupons of its campaign and labels the pairs.

    The tables are Arrow tables or mappings of arrays, with one row for each key. These columns are
    read:

    - exposures: ``user_id, campaign_id, event_timestamp``
    - coupons: ``coupon_id, campaign_id, valid_to``
    - redemptions: ``user_id, coupon_id, event_timestamp, created_timestamp``

    A label is 1 if the user redeemed the coupon in the half-open interval ``[exposure, valid_to)``.
    A coupon that ended at the exposure or before it is not a candidate and makes no pair. If a user
    was exposed to a campaign twice, a redemption labels the pairs of both exposures.
    """
    grid = _Grid.of(ids(exposures["campaign_id"]), ids(coupons["campaign_id"]))
    exposed = instants(exposures["event_timestamp"])
    closed = instants(coupons["valid_to"])
    learned = np.full(grid.pair_count, NEVER)
    row, pair, exposure, coupon = _matches(exposures, coupons, redemptions, grid)
    redeemed = instants(redemptions["event_timestamp"])[row]
    in_time = (redeemed >= exposed[exposure]) & (redeemed < closed[coupon])
    known = instants(redemptions["created_timestamp"])[row]
    np.minimum.at(learned, pair[in_time], known[in_time])
    pairs = _candidates(grid, exposed, closed, learned)
    logger.info("labeled %d pairs, %d redeemed", len(pairs), int(pairs.label.sum()))
    return pairs


def instants(values: Sequence[Any]) -> np.ndarray:
    """Converts timestamps to int64 microseconds since the epoch.

    Takes Arrow or NumPy timestamps of any unit, or int64 microseconds. Raises TypeError for others.

    >>> instants(np.array(["1970-01-01T00:00:01"], "datetime64[s]")).tolist()
    [1000000]
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
    """Every exposure with every coupon of its campaign, as slices of one sorted coupon order.

    Exposure ``e`` has the coupons ``order[first[e]:first[e] + size[e]]``. Its pairs begin at
    ``start[e]``. ``place[c]`` is the position of coupon ``c`` within its campaign.
    """

    order: np.ndarray
    place: np.ndarray
    first: np.ndarray
    size: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, exposed: np.ndarray, coupon_campaigns: np.ndarray) -> "_Grid":
        code = codes(coupon_campaigns)
        exposure, coupon = encode(exposed, code), encode(coupon_campaigns, code)
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
    exposures: Mapping[str, Sequence[Any]],
    coupons: Mapping[str, Sequence[Any]],
    redemptions: Mapping[str, Sequence[Any]],
    grid: _Grid,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Matches each redemption with every exposure of its user to the coupon's campaign.

    Returns for each match the redemption's row, the pair, the exposure's row and the coupon's row.
    A redemption of an unknown coupon, or by a user without an exposure, has no match.
    """
    users = codes(ids(exposures["user_id"]))
    campaigns = codes(ids(exposures["campaign_id"]))
    coupon = encode(ids(redemptions["coupon_id"]), codes(ids(coupons["coupon_id"])))
    redeeming_user = encode(ids(redemptions["user_id"]), users)
    campaign_of = np.append(encode(ids(coupons["campaign_id"]), campaigns), len(campaigns))
    width = len(campaigns) + 1
    redemption_keys = redeeming_user * width + campaign_of[coupon]
    exposure_keys = encode(ids(exposures["user_id"]), users) * width
    exposure_keys += encode(ids(exposures["campaign_id"]), campaigns)
    row, exposure = join(redemption_keys, exposure_keys)
    return row, grid.start[exposure] + grid.place[coupon[row]], exposure, coupon[row]


def _candidates(grid: _Grid, exposed: np.ndarray, closed: np.ndarray, learned: np.ndarray) -> Pairs:
    exposure, place = runs(grid.first, grid.size)
    coupon = grid.order[place]
    live = closed[coupon] > exposed[exposure]
    exposure, coupon, learned = exposure[live], coupon[live], learned[live]
    return Pairs(exposure, coupon, (learned < NEVER).astype(np.int8), learned, closed[coupon])
