"""The frame of a shop's requests, as a stream of blocks in the order of time."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.instants import DAY
from feature_repo.lake.product_attributes import product_attributes
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.names import RANKERS, USER
from feature_repo.publication.coupon_changes import coupon_changes
from feature_repo.transforms.request.cart import Attributes, CartLine
from training.data.dataset import RawTables, Read, raw_tables
from training.data.frame import RankingFrame, take
from training.data.joins import ids
from training.data.labels import instants
from training.data.request_grids import CouponChanges, groups_of_requests, inputs_of, read_coupons
from training.data.request_labels import RequestLabels, RequestPairs, joined
from training.data.sample import EVERYTHING, Sample

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

SETTLED_AFTER = DAY + DAY // 24
"""The time after which all redemptions at a visit are known: the end of a day of 25 hours."""

BLOCK_PAIRS = 400_000
"""Most pairs in a block; its inputs take about 170 MB."""

_PARTS = 16
"""Parts of a block in which candidates are found, so that a sample fills its blocks."""

_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class RequestTables:
    """The tables that frames of requests are made from.

    ``requests`` has the columns of `feature_repo.sources.requests` in its order, ``changes`` those
    of `feature_repo.publication.coupon_changes`. ``attributes`` are those of the products in carts.
    """

    requests: "pa.Table"
    raw: RawTables
    changes: "pa.Table"
    attributes: Attributes


def request_tables(lake: Lake, state: State, requests: "pa.Table") -> RequestTables:
    """Reads the tables of one state of the lake for some of its requests."""
    return RequestTables(
        requests,
        raw_tables(lake, state),
        coupon_changes(lake, state),
        product_attributes(lake, state),
    )


@dataclass
class LeftOut:
    """Counts of the requests that are in no block, by reason.

    ``no_candidate`` and ``one_candidate`` have no order to learn. ``not_drawn`` are the others that
    the sample leaves out.
    """

    no_candidate: int = 0
    one_candidate: int = 0
    not_drawn: int = 0


def request_frames(
    tables: RequestTables,
    read: Read,
    sample: Sample = EVERYTHING,
    left_out: LeftOut | None = None,
    block_pairs: int = BLOCK_PAIRS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[RankingFrame]:
    """Yields the labeled pairs of requests with their inputs, ordered by time, block by block.

    A block has whole groups and at most ``block_pairs`` pairs, unless one request has more. Memory
    depends on the size of a block, beside the tables. Users are read once for each request, coupons
    once for each interval in which their features do not change.

    ``left_out`` receives the counts of the requests left out. ``progress`` receives the requests
    done and the total.
    """
    stream = _Stream.of(tables, read, sample, left_out or LeftOut())
    total = len(stream.request_id)
    for pairs in _blocks(stream.kept(block_pairs // _PARTS), block_pairs):
        yield stream.frame(pairs)
        progress(int(pairs.request[-1]) + 1, total)
    progress(total, total)
    log.info("%d requests, left out: %s", total, stream.left_out)


def frames_of_rankers(
    frames: Iterable[RankingFrame], requests: "pa.Table"
) -> Iterator[tuple[str, RankingFrame]]:
    """Yields each block for every ranker that learns from it: the ranker's key, and its requests.

    A visit without a log is one of both rankers, so that both get the same block, not a copy.
    """
    request_ids = ids(requests["request_id"].to_pylist())
    others = {key: set(request_ids[~np.asarray(requests[key], dtype=bool)]) for key in RANKERS}
    for frame in frames:
        for key, not_theirs in others.items():
            theirs = np.array([one not in not_theirs for one in frame.qid])
            part = frame if theirs.all() else take(frame, theirs)
            if len(part):
                yield key, part


@dataclass(frozen=True)
class _Stream:
    """The tables of `request_frames` as arrays: a value for each request, or for each coupon."""

    tables: RequestTables
    read: Read
    sample: Sample
    left_out: LeftOut
    labels: RequestLabels
    changes: CouponChanges
    request_id: np.ndarray
    user_id: np.ndarray
    open_until: np.ndarray
    coupon_id: np.ndarray
    campaign_id: np.ndarray

    @classmethod
    def of(cls, tables: RequestTables, read: Read, sample: Sample, left_out: LeftOut) -> "_Stream":
        requests, coupons = tables.requests, tables.raw.coupons
        labels = RequestLabels.of(requests, tables.raw.exposures, coupons, tables.raw.redemptions)
        # A logged request can precede its basket, at which the coupons are redeemed.
        basket_at = instants(requests["basket_timestamp"].fill_null(_EARLIEST))
        coupon_ids = ids(coupons["coupon_id"].to_pylist())
        return cls(
            tables,
            read,
            sample,
            left_out,
            labels,
            CouponChanges.of(tables.changes, coupon_ids),
            ids(requests["request_id"].to_pylist()),
            ids(requests["user_id"].to_pylist()),
            np.maximum(labels.at, basket_at) + SETTLED_AFTER,
            coupon_ids,
            ids(coupons["campaign_id"].to_pylist()),
        )

    def kept(self, most: int) -> Iterator[RequestPairs]:
        """Yields the pairs of the sample in parts of at most ``most``, and counts the others."""
        candidates, labels = self.labels.candidates, self.labels
        for rows in _cut(candidates.at_most(labels.user, labels.at), most):
            pairs = labels.pairs(rows)
            place = pairs.request - rows[0]
            size = np.bincount(place, minlength=len(rows))
            redeemed = np.bincount(place, pairs.label, minlength=len(rows)) > 0
            drawn = np.array([self.sample.is_drawn(one) for one in self.request_id[rows]])
            has_order, wanted = size > 1, redeemed | drawn
            self.left_out.no_candidate += int((size == 0).sum())
            self.left_out.one_candidate += int((size == 1).sum())
            self.left_out.not_drawn += int((has_order & ~wanted).sum())
            yield pairs.take((has_order & wanted)[place])

    def frame(self, pairs: RequestPairs) -> RankingFrame:
        """Reads the features of a block of pairs, and forms their inputs."""
        rows, request = np.unique(pairs.request, return_inverse=True)
        user, at = self.labels.user[rows], self.labels.at[rows]
        inputs = inputs_of(
            self.read(USER, self.user_id[rows].tolist(), at),
            at,
            carts_of(self.tables.requests, rows),
            request,
            read_coupons(self.read, self.changes, self.coupon_id, pairs.coupon, at[request]),
            groups_of_requests(self.labels.candidates, self.changes, user, at),
            self.tables.attributes,
        )
        redeemed = np.bincount(request, pairs.label) > 0
        weight = np.where(redeemed, 1.0, 1.0 / self.sample.share).astype(np.float32)
        return RankingFrame(
            qid=self.request_id[pairs.request],
            user_id=self.user_id[pairs.request],
            campaign_id=self.campaign_id[pairs.coupon],
            coupon_id=self.coupon_id[pairs.coupon],
            as_of=self.labels.at[pairs.request],
            label=pairs.label,
            later=pairs.later,
            open_until=self.open_until[pairs.request],
            learned=pairs.learned,
            weight=weight[request],
            inputs=inputs,
        )


def carts_of(requests: "pa.Table", rows: np.ndarray) -> list[list[CartLine]]:
    """Returns the carts of some requests, by ascending row numbers."""
    names = ("cart_product_ids", "cart_quantities", "cart_unit_prices")
    columns = (requests[name].take(rows).to_pylist() for name in names)
    return [list(map(CartLine, *lists)) for lists in zip(*columns, strict=True)]


def _cut(sizes: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yields runs of consecutive rows whose sizes sum to at most ``most``, or single rows."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start] - sizes[start]
        stop = max(int(np.searchsorted(ends, before + most, "right")), start + 1)
        yield np.arange(start, stop)
        start = stop


def _blocks(parts: Iterable[RequestPairs], most: int) -> Iterator[RequestPairs]:
    """Joins consecutive parts to blocks of at most ``most`` pairs, or of a single part."""
    waiting: list[RequestPairs] = []
    for part in parts:
        if waiting and sum(map(len, waiting)) + len(part) > most:
            yield joined(waiting)
            waiting = []
        if len(part):
            waiting.append(part)
    if waiting:
        yield joined(waiting)
