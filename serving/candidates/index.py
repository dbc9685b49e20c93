"""The candidate index: every coupon in memory as arrays, so that a request reads only its user."""

import logging
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_repo.instants import from_microseconds
from feature_repo.names import COUPON
from feature_repo.transforms.request.ranker_inputs import Coupons, coupons_from_columns
from feature_repo.transforms.tie_break import tie_break
from serving.candidates.terms import NO_TERMS, TermColumns, Terms, terms_from_columns

log = logging.getLogger(__name__)

Columns = Mapping[str, Sequence]

_NO_ROWS = np.empty(0, dtype=np.int64)
_NEEDED = ("campaign_id", "valid_from_timestamp", "valid_to_timestamp")


@dataclass(frozen=True)
class CandidateIndex:
    """``n`` coupons as arrays of ``n``; a row is a position in them.

    ``valid_from`` and ``valid_to`` are int64 microseconds since the epoch, UTC; ``ties`` orders
    equal scores. ``closed_rows`` has, by campaign, the rows that reach only whom it is exposed to,
    ``open_rows`` those that reach everybody.
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
    known_products: Collection[str] | None = None

    def __len__(self) -> int:
        return len(self.campaign_id)

    @cached_property
    def ends(self) -> np.ndarray:
        """``valid_to`` as instants, UTC."""
        instants = map(from_microseconds, self.valid_to.tolist())
        return np.fromiter(instants, dtype=object, count=len(self))

    @property
    def coupon_id(self) -> np.ndarray:
        return self.coupons.coupon_id

    def lacks_any(self, product_ids: Iterable[str]) -> bool:
        """Whether one of the products is known to nobody."""
        known = self.known_products
        return known is not None and any(one not in known for one in product_ids)

    def candidates(self, campaigns: Iterable[str] | None) -> np.ndarray:
        """Rows of the coupons that may reach a user who is exposed to ``campaigns``, each once.

        Coupons with an open audience reach everybody; an unknown user (None) gets only them.
        Coupons outside their validity are among the rows: a rule removes and counts them.
        """
        closed = [self.closed_rows.get(one, _NO_ROWS) for one in dict.fromkeys(campaigns or ())]
        rows = np.concatenate([self.open_rows, *closed])
        rows.sort()
        return rows


def index_from_columns(
    columns: Columns,
    given: TermColumns = NO_TERMS,
    known_products: Collection[str] | None = None,
) -> CandidateIndex:
    """Arrange the coupon features that Feast returned, one entry a coupon, and the terms given.

    ``known_products`` are the ids of all products, if anybody is to be told of others.

    A coupon without a campaign or validity is not known to the store yet and is left out.
    Raises KeyError if a column of the feature service is missing.
    """
    columns = _complete(columns)
    is_open = np.asarray(columns["audience"], dtype=object) == "open"
    coupons = coupons_from_columns(columns)
    campaign_id = np.asarray(columns["campaign_id"], dtype=object)
    return CandidateIndex(
        coupons=coupons,
        coupon_code=np.asarray(columns["coupon_code"], dtype=object),
        campaign_id=campaign_id,
        valid_from=np.asarray(columns["valid_from_timestamp"], dtype=np.int64),
        valid_to=np.asarray(columns["valid_to_timestamp"], dtype=np.int64),
        terms=terms_from_columns(columns, coupons.products, given),
        ties=tie_break(coupons.coupon_id),
        row_of={coupon_id: row for row, coupon_id in enumerate(coupons.coupon_id)},
        closed_rows=_rows_of(campaign_id, np.flatnonzero(~is_open)),
        open_rows=np.flatnonzero(is_open),
        known_products=known_products,
    )


def _complete(columns: Columns) -> Columns:
    known = [
        row
        for row, values in enumerate(zip(*(columns[name] for name in _NEEDED), strict=True))
        if all(value is not None for value in values)
    ]
    absent = len(columns[COUPON]) - len(known)
    if absent:
        log.warning("%d coupons have no features online and cannot be shown", absent)
    return {name: [values[row] for row in known] for name, values in columns.items()}


def _rows_of(campaign_id: np.ndarray, among: np.ndarray) -> dict[str, np.ndarray]:
    rows: dict[str, list[int]] = {}
    for row in among.tolist():
        rows.setdefault(campaign_id[row], []).append(row)
    return {campaign: np.array(members, dtype=np.int64) for campaign, members in rows.items()}


class IndexSlot:
    """Holds the current index and rebuilds it when the online store was materialized again.

    ``materialized`` gives a mark that is another one after each materialization, None before any.
    The watermark alone would not do: what was learned late comes online without moving it.
    """

    def __init__(
        self,
        read_columns: Callable[[], Columns],
        materialized: Callable[[], Hashable | None],
        read_terms: Callable[[], TermColumns] = lambda: NO_TERMS,
        read_products: Callable[[], Collection[str] | None] = lambda: None,
    ) -> None:
        self._read_columns = read_columns
        self._read_terms = read_terms
        self._read_products = read_products
        self._materialized = materialized
        self._built_at: Hashable | None = None
        self._index: CandidateIndex | None = None
        self._refreshing = threading.Lock()

    @property
    def current(self) -> CandidateIndex | None:
        """The index, or None before anything was materialized."""
        return self._index

    def refresh(self) -> None:
        """Build the index anew after a materialization, and swap it in whole."""
        with self._refreshing:
            mark = self._materialized()
            if mark is None or mark == self._built_at:
                return
            columns, terms = self._read_columns(), self._read_terms()
            index = index_from_columns(columns, terms, self._read_products())
            self._index, self._built_at = index, mark
            log.info("candidate index: %d coupons", len(index))
