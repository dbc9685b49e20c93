"""The point-in-time training frame: what Feast knew at every exposure, for every candidate.

User features are read once an exposure, coupon features once a coupon and instant; the pairs are
then formed by the function that also serves requests.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.names import COUPON, RANKER_SERVICE, USER
from feature_repo.transforms.request.ranker_inputs import (
    RANKER_INPUTS,
    coupons_from_columns,
    ranker_inputs,
)
from training.data.frame import RankingFrame
from training.data.labels import Pairs, instants, label_pairs

log = logging.getLogger(__name__)

Columns = Mapping[str, Sequence]
Read = Callable[[str, Sequence[str], np.ndarray], Columns]
"""Reads the service's features for a join key, ids and instants (int64 us), one entry a row."""


class DatasetError(Exception):
    """No training frame can be built; the message says what is missing."""


@dataclass(frozen=True)
class RawTables:
    """Exposures, coupons and redemptions as they are known, as Arrow tables in the contract."""

    exposures: object
    coupons: object
    redemptions: object


def raw_tables(lake: Lake, state: State) -> RawTables:
    """What labels are made from, in one state of the lake."""
    return RawTables(*(lake.known(n, state) for n in ("exposures", "coupons", "redemptions")))


def build_frame(
    raw: RawTables, read: Read, progress: Callable[[int, int], None] = lambda done, total: None
) -> RankingFrame:
    """The labelled pairs of all exposures with their inputs, ordered by time, then exposure.

    Raises DatasetError if nobody was exposed to a coupon.
    """
    exposures = raw.exposures.sort_by(
        [("event_timestamp", "ascending"), ("exposure_id", "ascending")]
    )
    pairs = label_pairs(exposures, raw.coupons, raw.redemptions)
    if not len(pairs):
        raise DatasetError(
            "The lake has no exposure to a coupon, so there is nothing to learn from; ingest "
            "exposures, coupons and redemptions first."
        )
    as_of = instants(exposures["event_timestamp"])
    users = read(USER, exposures["user_id"].to_pylist(), as_of)
    inputs = np.empty((len(pairs), len(RANKER_INPUTS)), dtype=np.float32)
    for rows, matrix in _inputs(pairs, as_of, users, raw.coupons, read):
        inputs[rows] = matrix
        progress(int(rows.max()) + 1, len(pairs))
    log.info("built %d pairs of %d exposures", len(pairs), len(exposures))
    return _frame(pairs, exposures, raw.coupons, as_of, inputs)


def _inputs(
    pairs: Pairs, as_of: np.ndarray, users: Columns, coupons, read: Read
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The inputs of the pairs, one instant at a time: rows of the pairs and their matrix."""
    coupon_ids = np.asarray(coupons["coupon_id"].to_pylist(), dtype=object)
    moment = as_of[pairs.exposure]
    keys, member = np.unique(np.stack([moment, pairs.coupon]), axis=1, return_inverse=True)
    known = read(COUPON, coupon_ids[keys[1]].tolist(), keys[0])
    for instant in np.unique(keys[0]):
        here = np.flatnonzero(keys[0] == instant)
        arranged = coupons_from_columns(_rows(known, here))
        rows = np.flatnonzero(moment == instant)
        # Users and coupons of one instant form a grid per campaign, so it is filled per campaign.
        for block in _blocks(pairs, rows):
            exposed, user = np.unique(pairs.exposure[block], return_inverse=True)
            candidate, column = np.unique(member[block] - here[0], return_inverse=True)
            grid = ranker_inputs(_rows(users, exposed), arranged, candidate, as_of[exposed])
            yield block, grid[user, column]


def _blocks(pairs: Pairs, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of exposures that share their first coupon, and so their campaign."""
    starts = np.concatenate([[True], np.diff(pairs.exposure[rows]) != 0])
    first = pairs.coupon[rows][starts]
    campaign = first[np.cumsum(starts) - 1]
    for one in np.unique(campaign):
        yield rows[campaign == one]


def _rows(columns: Columns, rows: np.ndarray) -> Columns:
    return {
        name: values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]
        for name, values in columns.items()
    }


def _frame(pairs: Pairs, exposures, coupons, as_of: np.ndarray, inputs: np.ndarray) -> RankingFrame:
    def of(table, column: str, rows: np.ndarray) -> np.ndarray:
        return np.asarray(table[column].to_pylist(), dtype=object)[rows]

    return RankingFrame(
        qid=of(exposures, "exposure_id", pairs.exposure),
        user_id=of(exposures, "user_id", pairs.exposure),
        campaign_id=of(exposures, "campaign_id", pairs.exposure),
        coupon_id=of(coupons, "coupon_id", pairs.coupon),
        as_of=as_of[pairs.exposure],
        label=pairs.label,
        open_until=pairs.open_until,
        learned=pairs.learned,
        inputs=inputs,
    )


def feast_reader(store, service_name: str = RANKER_SERVICE) -> Read:
    """Reads the service's features from a Feast store's offline side, point-in-time correct."""
    by_key = features_by_key(store, service_name)

    def read(key: str, ids: Sequence[str], as_of: np.ndarray) -> Columns:
        import pandas as pd

        times = pd.to_datetime(as_of, unit="us", utc=True)
        entities = pd.DataFrame({key: ids, "event_timestamp": times})
        job = store.get_historical_features(entity_df=entities, features=by_key[key])
        return columns_of(job.to_arrow())

    return read


def features_by_key(store, service_name: str = RANKER_SERVICE) -> dict[str, list[str]]:
    """The feature references of a service, by the join key that they are read with."""
    by_key: dict[str, list[str]] = {USER: [], COUPON: []}
    for projection in store.get_feature_service(service_name).feature_view_projections:
        key = store.get_feature_view(projection.name).entity_columns[0].name
        by_key[key] += [f"{projection.name}:{feature.name}" for feature in projection.features]
    return by_key


def columns_of(table) -> Columns:
    """Arrow columns as arrays; a list column as one array (or None) a row, without copies."""
    return {name: _column(table[name].combine_chunks()) for name in table.column_names}


def _column(column) -> Sequence:
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
