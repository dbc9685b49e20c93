"""The candidate index: all coupons in memory as arrays, so that a request reads only its user."""

import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from feature_repo.instants import from_microseconds
from feature_repo.names import COUPON
from feature_repo.transforms.request.cart import Attributes
from feature_repo.transforms.request.ranker_inputs import Coupons, coupons_from_columns
from feature_repo.transforms.tie_break import tie_break
from serving.candidates.refused import RefusedRedemption, with_refused
from serving.candidates.terms import NO_TERMS, TermColumns, Terms, terms_from_columns

log = logging.getLogger(__name__)

Columns = Mapping[str, Sequence[Any]]

END_OF_TIME = 2**62
"""An instant after all others, in microseconds."""

_NO_ROWS = np.empty(0, dtype=np.int64)
_NEEDED = ("campaign_id", "valid_from_timestamp", "valid_to_timestamp")


@dataclass(frozen=True)
class CandidateIndex:
    """``n`` coupons as arrays of ``n``; a row is a position in them.

    ``valid_from`` and ``valid_to`` are int64 microseconds since the epoch, UTC. ``ties`` orders
    equal scores. ``closed_rows`` has, by campaign, the rows for users exposed to that campaign.
    ``open_rows`` are the rows for all users. ``products`` has the category and the brand of every
    product, None if they were not read. The plans in it are in force within ``[since, until)``.
    ``ever_limited`` maps the coupons with a limit before, in or after that time to their campaign.
    ``stored_coupon`` is one that the online store has, unless it lost its data.
    """

    coupons: Coupons
    coupon_code: np.ndarray
    campaign_id: np.ndarray
    valid_from: np.ndarray
    valid_to: np.ndarray
    terms: Terms
    ties: np.ndarray
    row_of: Mapping[str, int]
    closed_rows: Mapping[str, np.ndarray]
    open_rows: np.ndarray
    products: Attributes | None = None
    since: int = -END_OF_TIME
    until: int = END_OF_TIME
    ever_limited: Mapping[str, str] = field(default_factory=dict)
    stored_coupon: str | None = None

    def __len__(self) -> int:
        return len(self.campaign_id)

    @cached_property
    def valid_to_instants(self) -> np.ndarray:
        """``valid_to`` as datetimes, UTC."""
        instants = map(from_microseconds, self.valid_to.tolist())
        return np.fromiter(instants, dtype=object, count=len(self))

    @property
    def coupon_id(self) -> np.ndarray:
        """The ids of the coupons."""
        return self.coupons.coupon_id

    def has_unknown(self, product_ids: Iterable[str]) -> bool:
        """True if one of the products is not in the lake."""
        products = self.products
        return products is not None and any(one not in products for one in product_ids)

    def candidates(self, campaigns: Iterable[str] | None) -> np.ndarray:
        """Returns the rows of coupons for a user who is exposed to ``campaigns``, each once.

        Coupons with an open audience are for all users; an unknown user (None) gets only those.
        Coupons outside their validity are among the rows: a rule removes and counts them.
        """
        closed = [self.closed_rows.get(one, _NO_ROWS) for one in dict.fromkeys(campaigns or ())]
        rows = np.concatenate([self.open_rows, *closed])
        rows.sort()
        return rows


def index_from_columns(
    columns: Columns,
    terms: TermColumns = NO_TERMS,
    products: Attributes | None = None,
    refused: Sequence[RefusedRedemption] = (),
) -> CandidateIndex:
    """Builds the index from coupon features as Feast returned them, one entry a coupon.

    ``terms`` are those of coupons and products. ``products`` has the category and the brand of
    all products, for the inputs from a cart and the detection of unknown ones. ``refused`` are the
    redemptions in quarantine. A coupon without a campaign or validity is not in the online store
    yet, and is left out. Raises KeyError if a column of the feature service is missing.
    """
    columns = _complete(columns)
    is_open = np.asarray(columns["audience"], dtype=object) == "open"
    coupons = coupons_from_columns(columns)
    campaign_id = np.asarray(columns["campaign_id"], dtype=object)
    row_of = {coupon_id: row for row, coupon_id in enumerate(coupons.coupon_id)}
    stated = terms_from_columns(columns, coupons.products, terms)
    return CandidateIndex(
        coupons=coupons,
        coupon_code=np.asarray(columns["coupon_code"], dtype=object),
        campaign_id=campaign_id,
        valid_from=np.asarray(columns["valid_from_timestamp"], dtype=np.int64),
        valid_to=np.asarray(columns["valid_to_timestamp"], dtype=np.int64),
        terms=with_refused(stated, row_of, campaign_id, refused),
        ties=tie_break(coupons.coupon_id.tolist()),
        row_of=row_of,
        closed_rows=_rows_by_campaign(campaign_id, np.flatnonzero(~is_open)),
        open_rows=np.flatnonzero(is_open),
        products=products,
        stored_coupon=next(iter(row_of), None),
    )


def _complete(columns: Columns) -> Columns:
    """Drops the rows in which one of the needed columns is null."""
    kept = [
        row
        for row, values in enumerate(zip(*(columns[name] for name in _NEEDED), strict=True))
        if all(value is not None for value in values)
    ]
    absent = len(columns[COUPON]) - len(kept)
    if absent:
        log.warning("%d coupons have no features in the online store and cannot be shown", absent)
    return {name: [values[row] for row in kept] for name, values in columns.items()}


def _rows_by_campaign(campaign_id: np.ndarray, among: np.ndarray) -> dict[str, np.ndarray]:
    rows: dict[str, list[int]] = {}
    for row in among.tolist():
        rows.setdefault(campaign_id[row], []).append(row)
    return {campaign: np.array(members, dtype=np.int64) for campaign, members in rows.items()}


BuildIndex = Callable[[int], CandidateIndex]
"""Builds the index as of an instant, in microseconds."""

_AHEAD = 300_000_000
"""Microseconds before a change of the plans at which the next index is built."""

_MOST_OTHERS = 4


class IndexSlot:
    """The index as of any instant, loaded again after each change of the features.

    ``load`` reads all that is known, also of the future, and returns the function that builds an
    index from it. ``read_mark`` returns a value that changes with the features, None before the
    first. ``now`` returns the instant of the clock. The index of the current instant is at hand,
    and that of the next change is built before it: no request waits for one. An index of another
    instant, such as a replay asks for, is built when it is first needed.
    """

    def __init__(
        self,
        load: Callable[[], BuildIndex],
        read_mark: Callable[[], Hashable | None],
        now: Callable[[], int] = lambda: 0,
    ) -> None:
        self._load = load
        self._read_mark = read_mark
        self._now = now
        self._loaded_at: Hashable | None = None
        self._build: BuildIndex | None = None
        self._index: CandidateIndex | None = None
        self._others: tuple[CandidateIndex, ...] = ()
        self._refreshing, self._building = threading.Lock(), threading.Lock()

    @property
    def current(self) -> CandidateIndex | None:
        """The index of the last refresh, or None before the first materialization."""
        return self._index

    def at(self, instant: int) -> CandidateIndex | None:
        """Returns the index as of an instant, in microseconds; None if nothing is loaded."""
        index = self._index
        if index is None or index.since <= instant < index.until:
            return index
        return self._other(instant)

    def refresh(self) -> None:
        """Loads again after a change of the features, and follows the plans to the current instant.

        An old index is replaced in one step.
        """
        with self._refreshing:
            mark = self._read_mark()
            if mark is None:
                return
            if mark != self._loaded_at:
                self._replace(self._load())
                self._loaded_at = mark
            self._follow(self._now())

    def _replace(self, build: BuildIndex) -> None:
        index = build(self._now())
        with self._building:
            self._build, self._index, self._others = build, index, ()
        log.info("candidate index: %d coupons", len(index))

    def _follow(self, now: int) -> None:
        """Replaces the index once a plan has taken effect; builds the next one shortly before."""
        index = self.at(now)
        if index is not None:
            self._index = index
            if index.until - now <= _AHEAD:
                self._other(index.until)

    def _other(self, instant: int) -> CandidateIndex | None:
        with self._building:
            for one in self._others:
                if one.since <= instant < one.until:
                    return one
            if self._build is None:
                return None
            index = self._build(instant)
            self._others = (index, *self._others)[:_MOST_OTHERS]
            return index
