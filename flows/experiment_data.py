"""What a version is trained and measured on: the frame of a state of the lake, split by time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State, instant
from flows.materialize import apply
from flows.runtime import report_progress, step
from training.data.dataset import build_frame, feast_reader, raw_tables
from training.data.frame import RankingFrame, check_frame
from training.data.split import TimeSplit, split
from training.models.baselines import rule_scores

TEST_DAYS = 92
"""The test holds the exposures of the last quarter before the watermark."""


@dataclass(frozen=True)
class ExperimentData:
    """A state of the lake, its frame, and train, valid and test, which starts at ``test_start``.

    ``rules`` has the plain rules' scores of every test pair. ``campaign_types`` maps campaigns to
    the retailer's class of them.
    """

    state: State
    frame: RankingFrame
    train: RankingFrame
    valid: RankingFrame
    test: RankingFrame
    rules: Mapping[str, np.ndarray]
    campaign_types: Mapping[str, str]
    test_start: datetime


def experiment_data_of(
    home: Path, lake_version: int | None, test_start: str | None, seed: int
) -> ExperimentData:
    """The trial on a state of the lake, by default the current one and its last quarter."""
    lake = Lake(home)
    state = lake.state(lake_version)
    starting = instant(test_start) if test_start else _quarter_before(state.watermark)
    frame = step(dataset)(home, state)
    train, valid, test = step(split)(frame, TimeSplit.before(starting))
    rules, types = rule_scores(test, seed), campaign_types(lake, state)
    return ExperimentData(state, frame, train, valid, test, rules, types, starting)


def dataset(home: Path, state: State) -> RankingFrame:
    """The training frame of one state of the lake, checked."""
    store = apply()
    store.config.offline_store.lake_version = state.number
    raw = raw_tables(Lake(home), state)
    frame = build_frame(
        raw, feast_reader(store), lambda done, total: report_progress("frame", done, total)
    )
    check_frame(frame)
    return frame


def campaign_types(lake: Lake, state: State) -> dict[str, str]:
    """The retailer's class of every campaign."""
    coupons = lake.known("coupons", state)
    pairs = (coupons["campaign_id"].to_pylist(), coupons["campaign_type"].to_pylist())
    return dict(zip(*pairs, strict=True))


def _quarter_before(watermark: datetime) -> datetime:
    start = watermark - timedelta(days=TEST_DAYS)
    return start.replace(hour=0, minute=0, second=0, microsecond=0)
