"""The point-in-time training frame: one row for each exposure and candidate coupon.

User features are read once for each exposure, coupon features once for each coupon and instant.
``ranker_inputs``, the function that also serves requests, then combines them into pairs.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.lake.duckdb_files import query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.names import CHECKOUT, COUPON, USER
from feature_repo.transforms.request.ranker_inputs import (
    RANKER_INPUTS,
    coupons_from_columns,
    ranker_inputs,
)
from training.data.frame import RankingFrame
from training.data.labels import Pairs, instants, label_pairs

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

Columns = Mapping[str, Any]
"""Values by column name: one array, or a list with one array for each row of a list column."""

Read = Callable[[str, Sequence[str], np.ndarray], Columns]
"""Reads the features of a feature service: (join key, ids, instants) -> columns.

Instants are int64 microseconds. Each column has one value for each id.
"""


class DatasetError(Exception):
    """The training frame cannot be built; the message names the missing data."""


@dataclass(frozen=True)
class RawTables:
    """Exposures, coupons and redemptions in their current versions, in the contract's columns.

    ``coupons`` is ordered by coupon_id. Its further column ``announced_timestamp`` is the instant
    after which the first version of the coupon is known, and what it covers. A coupon that covers
    nothing is left out: it cannot be shown.
    """

    exposures: "pa.Table"
    coupons: "pa.Table"
    redemptions: "pa.Table"


def raw_tables(lake: Lake, state: State) -> RawTables:
    """Reads the tables that labels are made from, in one state of the lake."""
    announced, covered = (
        "SELECT coupon_id, min(greatest(event_timestamp, created_timestamp)) AS since "
        f"FROM ({lake.scan(name, state)}) GROUP BY coupon_id"
        for name in ("coupons", "coupon_products")
    )
    coupons = query(
        f"SELECT k.*, greatest(a.since, c.since) AS announced_timestamp "
        f"FROM ({lake.known_sql('coupons', state)}) k JOIN ({announced}) a USING (coupon_id) "
        f"LEFT JOIN ({covered}) c USING (coupon_id) "
        "WHERE c.since IS NOT NULL OR k.covers_whole_cart ORDER BY coupon_id"
    )
    return RawTables(lake.known("exposures", state), coupons, lake.known("redemptions", state))


def build_frame(
    raw: RawTables, read: Read, progress: Callable[[int, int], None] = lambda done, total: None
) -> RankingFrame:
    """Builds the labeled pairs of all exposures with their inputs, by time, then exposure id.

    ``progress`` receives the pairs done and the total. Raises DatasetError if no exposure has a
    candidate coupon.
    """
    exposures = raw.exposures.sort_by(
        [("event_timestamp", "ascending"), ("exposure_id", "ascending")]
    )
    pairs = label_pairs(exposures, raw.coupons, raw.redemptions)
    if not len(pairs):
        raise DatasetError(
            "Expected exposures with coupons in the lake, got none: ingest exposures, coupons and "
            "redemptions first."
        )
    as_of = instants(exposures["event_timestamp"])
    users = read(USER, exposures["user_id"].to_pylist(), as_of)
    inputs = np.empty((len(pairs), len(RANKER_INPUTS)), dtype=np.float32)
    for rows, matrix in _inputs(pairs, as_of, users, raw.coupons, read):
        inputs[rows] = matrix
        progress(int(rows.max()) + 1, len(pairs))
    log.info("built %d pairs from %d exposures", len(pairs), len(exposures))
    return _frame(pairs, exposures, raw.coupons, as_of, inputs)


def _inputs(
    pairs: Pairs, as_of: np.ndarray, users: Columns, coupons: "pa.Table", read: Read
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows of ``pairs`` with their input matrix, one instant at a time."""
    coupon_ids = np.asarray(coupons["coupon_id"].to_pylist(), dtype=object)
    instants_of_pairs = as_of[pairs.exposure]
    keys, member = np.unique(
        np.stack([instants_of_pairs, pairs.coupon]), axis=1, return_inverse=True
    )
    features = read(COUPON, coupon_ids[keys[1]].tolist(), keys[0])
    for instant in np.unique(keys[0]):
        here = np.flatnonzero(keys[0] == instant)
        coupons_here = coupons_from_columns(rows_of(features, here))
        rows = np.flatnonzero(instants_of_pairs == instant)
        # Only the users and coupons of one campaign form a full grid, so each has its own.
        for block in _blocks(pairs, rows):
            exposed, user = np.unique(pairs.exposure[block], return_inverse=True)
            candidate, column = np.unique(member[block] - here[0], return_inverse=True)
            grid = ranker_inputs(rows_of(users, exposed), coupons_here, candidate, as_of[exposed])
            yield block, grid[user, column]


def _blocks(pairs: Pairs, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the rows of each campaign: exposures with the same first coupon share a campaign."""
    starts = np.concatenate([[True], np.diff(pairs.exposure[rows]) != 0])
    first = pairs.coupon[rows][starts]
    campaign = first[np.cumsum(starts) - 1]
    for one in np.unique(campaign):
        yield rows[campaign == one]


def rows_of(columns: Columns, rows: np.ndarray) -> Columns:
    """Selects rows of every column."""
    return {
        name: values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]
        for name, values in columns.items()
    }


def _frame(
    pairs: Pairs,
    exposures: "pa.Table",
    coupons: "pa.Table",
    as_of: np.ndarray,
    inputs: np.ndarray,
) -> RankingFrame:
    def values(table: "pa.Table", column: str, rows: np.ndarray) -> np.ndarray:
        return np.asarray(table[column].to_pylist(), dtype=object)[rows]

    return RankingFrame(
        qid=values(exposures, "exposure_id", pairs.exposure),
        user_id=values(exposures, "user_id", pairs.exposure),
        campaign_id=values(exposures, "campaign_id", pairs.exposure),
        coupon_id=values(coupons, "coupon_id", pairs.coupon),
        as_of=as_of[pairs.exposure],
        label=pairs.label,
        # From the exposure on every redemption counts, so both labels are the same here.
        later=pairs.label,
        open_until=pairs.open_until,
        learned=pairs.learned,
        weight=np.ones(len(pairs), dtype=np.float32),
        inputs=inputs,
    )


def feast_reader(store: Any, service_name: str = CHECKOUT.service) -> Read:
    """Returns a reader of point-in-time correct features from a Feast store's offline store."""
    by_key = features_by_key(store, service_name)

    def read(key: str, ids: Sequence[str], as_of: np.ndarray) -> Columns:
        import pandas as pd

        times = pd.to_datetime(as_of, unit="us", utc=True)
        entities = pd.DataFrame({key: ids, "event_timestamp": times})
        job = store.get_historical_features(entity_df=entities, features=by_key[key])
        return columns_of(job.to_arrow())

    return read


def features_by_key(store: Any, service_name: str = CHECKOUT.service) -> dict[str, list[str]]:
    """Returns the feature references of a feature service by their join key."""
    by_key: dict[str, list[str]] = {USER: [], COUPON: []}
    for projection in store.get_feature_service(service_name).feature_view_projections:
        key = store.get_feature_view(projection.name).entity_columns[0].name
        by_key[key] += [f"{projection.name}:{feature.name}" for feature in projection.features]
    return by_key


def columns_of(table: "pa.Table") -> Columns:
    """Converts Arrow columns to arrays; a list column to one array (or None) for each row.

    Lists are not copied.
    """
    return {name: _column(table[name].combine_chunks()) for name in table.column_names}


def _column(column: "pa.Array") -> Sequence[Any] | np.ndarray:
    import pyarrow as pa

    if pa.types.is_list(column.type):
        flat, ends = column.values.to_numpy(zero_copy_only=False), column.offsets.to_numpy()
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        return [
            flat[start:end] if there else None
            for start, end, there in zip(ends[:-1], ends[1:], valid, strict=True)
        ]
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(column.to_pylist(), dtype=object)
