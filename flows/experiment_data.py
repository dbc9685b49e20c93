"""Data of one experiment: the training frame of a lake version, split by time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State, instant
from flows.materialize import apply
from flows.runtime import as_task, report_progress
from training.data.dataset import build_frame, feast_reader, raw_tables
from training.data.frame import RankingFrame, check_frame
from training.data.split import TimeSplit, split
from training.models.baselines import rule_scores

TEST_DAYS = 92
"""Days before the watermark at which the test part starts by default: one quarter."""


@dataclass(frozen=True)
class ExperimentData:
    """A lake version, its training frame, and the parts train, valid and test.

    The test part starts at ``test_start``. ``rules`` maps each plain rule to its scores of the test
    pairs. ``campaign_types`` maps campaigns to the retailer's campaign type.
    """

    state: State
    frame: RankingFrame
    train: RankingFrame
    valid: RankingFrame
    test: RankingFrame
    rules: Mapping[str, np.ndarray]
    campaign_types: Mapping[str, str]
    test_start: datetime


def load_experiment_data(
    home: Path, lake_version: int | None, test_start: str | None, seed: int
) -> ExperimentData:
    """Builds and splits the frame of a lake version, by default the current one.

    ``test_start`` is by default the midnight 92 days before the watermark.
    """
    lake = Lake(home)
    state = lake.state(lake_version)
    start = instant(test_start) if test_start else _quarter_before(state.watermark)
    frame = as_task(dataset)(home, state)
    train, valid, test = as_task(split)(frame, TimeSplit.before(start))
    rules, types = rule_scores(test, seed), campaign_types(lake, state)
    return ExperimentData(state, frame, train, valid, test, rules, types, start)


def dataset(home: Path, state: State) -> RankingFrame:
    """Builds and checks the training frame of one lake version."""
    store = apply()
    store.config.offline_store.lake_version = state.number
    raw = raw_tables(Lake(home), state)
    frame = build_frame(
        raw, feast_reader(store), lambda done, total: report_progress("frame", done, total)
    )
    check_frame(frame)
    return frame


def campaign_types(lake: Lake, state: State) -> dict[str, str]:
    """Returns the retailer's campaign type of every campaign."""
    coupons = lake.known("coupons", state)
    pairs = (coupons["campaign_id"].to_pylist(), coupons["campaign_type"].to_pylist())
    return dict(zip(*pairs, strict=True))


def _quarter_before(watermark: datetime) -> datetime:
    start = watermark - timedelta(days=TEST_DAYS)
    return start.replace(hour=0, minute=0, second=0, microsecond=0)
