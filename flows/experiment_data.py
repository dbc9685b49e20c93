"""Data of one training: the visits of a lake version, sampled, and split by time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.instants import microseconds
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State, instant
from feature_repo.names import RANKERS, RankerNames
from feature_repo.sources.requests import requests
from flows.materialize import apply
from flows.runtime import as_task, report_progress
from training.data.dataset import DatasetError, build_frame, feast_reader, raw_tables
from training.data.frame import RankingFrame, check_frame, concatenated, take
from training.data.request_frames import LeftOut, request_frames, request_tables
from training.data.sample import Sample
from training.data.split import TimeSplit, split
from training.models.baselines import rule_scores

if TYPE_CHECKING:
    import pyarrow as pa

TEST_WEEKS = 8
"""Weeks before the watermark at which the test starts by default."""

OTHERS = 8_000
"""Number of visits without a redemption that a training reads; all others are read too."""


@dataclass(frozen=True)
class SampledVisits:
    """The visits of one lake version as one frame: all with a redemption, a sample of the others.

    ``learns`` has, by the key of each ranker, a mask of the pairs whose visits it learns from.
    ``campaign_types`` maps campaigns to the retailer's type, ``campaign_starts`` to their first
    instant (int64 microseconds).
    """

    state: State
    frame: RankingFrame
    learns: Mapping[str, np.ndarray]
    left_out: LeftOut
    campaign_types: Mapping[str, str]
    campaign_starts: Mapping[str, int]


@dataclass(frozen=True)
class ExperimentData:
    """The data of one ranker: its frame, and the parts train, valid and test.

    The test part starts at ``test_start``. ``rules`` maps each plain rule to its scores of the test
    pairs. ``exposures`` are those of the test, each with the redemptions of its whole campaign; it
    is None without one. The two mappings of campaigns are those of ``SampledVisits``.
    """

    ranker: RankerNames
    state: State
    frame: RankingFrame
    train: RankingFrame
    valid: RankingFrame
    test: RankingFrame
    rules: Mapping[str, np.ndarray]
    exposures: RankingFrame | None
    campaign_types: Mapping[str, str]
    campaign_starts: Mapping[str, int]
    test_start: datetime


def load_experiment_data(
    home: Path,
    rankers: tuple[RankerNames, ...],
    lake_version: int | None,
    test_start: str | None,
    seed: int,
) -> tuple[ExperimentData, ...]:
    """Builds the frame of a lake version once, and splits it for each ranker.

    ``lake_version`` is by default the current one, ``test_start`` the midnight eight weeks before
    its watermark.
    """
    state = Lake(home).state(lake_version)
    start = instant(test_start) if test_start else _weeks_before(state.watermark)
    visits = as_task(sampled_visits)(home, state, seed)
    exposures = as_task(exposure_frame)(home, state, microseconds(start))
    return tuple(_data_of(names, visits, exposures, start, seed) for names in rankers)


def _data_of(
    names: RankerNames,
    visits: SampledVisits,
    exposures: RankingFrame | None,
    start: datetime,
    seed: int,
) -> ExperimentData:
    learns = visits.learns[names.key]
    frame = visits.frame if learns.all() else take(visits.frame, learns)
    check_frame(frame)
    train, valid, test = as_task(split)(frame, TimeSplit.before(start))
    rules = rule_scores(test, names.key, seed)
    return ExperimentData(
        names,
        visits.state,
        frame,
        train,
        valid,
        test,
        rules,
        exposures,
        visits.campaign_types,
        visits.campaign_starts,
        start,
    )


def sampled_visits(home: Path, state: State, seed: int) -> SampledVisits:
    """Reads the visits of one lake version. Raises DatasetError without any."""
    found, left_out = visit_requests(home, state), LeftOut()
    sample = Sample(min(1.0, OTHERS / max(found.num_rows, 1)), seed)
    tables = request_tables(Lake(home), state, found)
    blocks = request_frames(
        tables,
        feast_reader(lake_store(state)),
        sample,
        left_out,
        progress=lambda done, total: report_progress("visits", done, total),
    )
    frames = list(blocks)
    if not frames:
        raise DatasetError(
            f"Expected visits with at least two coupons to choose from, got none of {len(found)} "
            "visits: ingest exposures, coupons and purchases of the same weeks."
        )
    frame = concatenated(*frames)
    return SampledVisits(
        state,
        frame,
        {key: learns(found, key)(frame.qid) for key in RANKERS},
        left_out,
        campaign_types(Lake(home), state),
        campaign_starts(Lake(home), state),
    )


def visit_requests(home: Path, state: State) -> "pa.Table":
    """Reads the requests of a lake version that a ranker learns from."""
    return requests(Lake(home), state)


def learns(found: "pa.Table", ranker: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from qids to a mask: true for the requests that a ranker learns from.

    ``found`` are the requests, ``ranker`` is the ranker's key.
    """
    ids, flags = found["request_id"].to_pylist(), found[ranker].to_pylist()
    wanted = dict(zip(ids, flags, strict=True))
    return lambda qid: np.fromiter((wanted[one] for one in qid), bool, len(qid))


def exposure_frame(home: Path, state: State, first: int) -> RankingFrame | None:
    """Builds the frame of the exposures from ``first`` on (int64 microseconds); None without one.

    A group is an exposure at the start of its campaign. A coupon counts as redeemed if it was
    redeemed at any time while it was valid.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    raw = raw_tables(Lake(home), state)
    since = pa.scalar(first, pa.int64()).cast(pa.timestamp("us", "UTC"))
    late = raw.exposures.filter(pc.greater_equal(raw.exposures["event_timestamp"], since))
    if not late.num_rows:
        return None
    try:
        return build_frame(
            replace(raw, exposures=late),
            feast_reader(lake_store(state)),
            lambda done, total: report_progress("campaign starts", done, total),
        )
    except DatasetError:
        return None


def lake_store(state: State) -> Any:
    """Applies the definitions, and returns the Feast store that reads one lake version."""
    store = apply()
    store.config.offline_store.lake_version = state.number
    return store


def campaign_types(lake: Lake, state: State) -> dict[str, str]:
    """Returns the retailer's campaign type of every campaign."""
    coupons = lake.known("coupons", state)
    pairs = (coupons["campaign_id"].to_pylist(), coupons["campaign_type"].to_pylist())
    return dict(zip(*pairs, strict=True))


def campaign_starts(lake: Lake, state: State) -> dict[str, int]:
    """Returns the instant at which the first coupon of every campaign is valid, in microseconds."""
    coupons = lake.known("coupons", state)
    starts: dict[str, int] = {}
    pairs = (coupons["campaign_id"].to_pylist(), coupons["valid_from"].to_pylist())
    for campaign, start in zip(*pairs, strict=True):
        at = microseconds(start)
        starts[campaign] = min(at, starts.get(campaign, at))
    return starts


def _weeks_before(watermark: datetime) -> datetime:
    start = watermark - timedelta(weeks=TEST_WEEKS)
    return start.replace(hour=0, minute=0, second=0, microsecond=0)
