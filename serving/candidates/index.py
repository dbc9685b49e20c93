"""The candidate index: all coupons in memory as arrays, so that a request reads only its user."""

import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from feature_repo.instants import from_microseconds
from feature_repo.names import COUPON
from feature_repo.transforms.request.cart import Attributes
from feature_repo.transforms.request.ranker_inputs import Coupons, coupons_from_columns
from feature_repo.transforms.tie_break import tie_break
from serving.candidates.terms import NO_TERMS, TermColumns, Terms, terms_from_columns

log = logging.getLogger(__name__)

Columns = Mapping[str, Sequence[Any]]

_NO_ROWS = np.empty(0, dtype=np.int64)
_NEEDED = ("campaign_id", "valid_from_timestamp", "valid_to_timestamp")


@dataclass(frozen=True)
class CandidateIndex:
    """``n`` coupons as arrays of ``n``; a row is a position in them.

    ``valid_from`` and ``valid_to`` are int64 microseconds since the epoch, UTC. ``ties`` orders
    equal scores. ``closed_rows`` has, by campaign, the rows for users exposed to that campaign.
    ``open_rows`` are the rows for all users. ``products`` has the category and the brand of every
    product, None if they were not read.
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
) -> CandidateIndex:
    """Builds the index from coupon features as Feast returned them, one entry a coupon.

    ``terms`` are those of coupons and products. ``products`` has the category and the brand of
    all products, for the inputs from a cart and the detection of unknown ones. A coupon without a
    campaign or validity is not in the online store yet, and is left out. Raises KeyError if a
    column of the feature service is missing.
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
        terms=terms_from_columns(columns, coupons.products, terms),
        ties=tie_break(coupons.coupon_id.tolist()),
        row_of={coupon_id: row for row, coupon_id in enumerate(coupons.coupon_id)},
        closed_rows=_rows_by_campaign(campaign_id, np.flatnonzero(~is_open)),
        open_rows=np.flatnonzero(is_open),
        products=products,
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


class IndexSlot:
    """The current index, rebuilt after each materialization of the online store.

    ``read_mark`` returns a value that changes with each materialization, None before the first.
    The watermark alone is not enough: late records come online without moving it.
    """

    def __init__(
        self,
        read_columns: Callable[[], Columns],
        read_mark: Callable[[], Hashable | None],
        read_terms: Callable[[], TermColumns] = lambda: NO_TERMS,
        read_products: Callable[[], Attributes | None] = lambda: None,
    ) -> None:
        self._read_columns = read_columns
        self._read_terms = read_terms
        self._read_products = read_products
        self._read_mark = read_mark
        self._built_at: Hashable | None = None
        self._index: CandidateIndex | None = None
        self._refreshing = threading.Lock()

    @property
    def current(self) -> CandidateIndex | None:
        """The index, or None before the first materialization."""
        return self._index

    def refresh(self) -> None:
        """Rebuilds the index after a materialization, and replaces the old one in one step."""
        with self._refreshing:
            mark = self._read_mark()
            if mark is None or mark == self._built_at:
                return
            columns, terms = self._read_columns(), self._read_terms()
            index = index_from_columns(columns, terms, self._read_products())
            self._index, self._built_at = index, mark
            log.info("candidate index: %d coupons", len(index))
