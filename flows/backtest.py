"""Backtest: every campaign ranked by models that knew only what came before it."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow

from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State, instant
from flows.experiment_data import campaign_types, dataset
from flows.materialize import apply
from flows.runtime import git_commit, prepare_environment, report_progress, step
from training.data.dataset import build_frame, feast_reader, raw_tables
from training.data.frame import RankingFrame, take
from training.data.purchase_matrix import purchases_before
from training.data.request_exposures import request_exposures
from training.evaluation.compare import predictions_table
from training.evaluation.list_metrics import Catalog, catalog_of
from training.models.baselines import PLAIN_RULES
from training.models.ranker import RankerConfig
from training.studies.backtest import (
    BacktestScores,
    backtest,
    check_parts,
    checked_origins,
    split_frozen,
)
from training.studies.backtest_summary import compare_models, json_ready, summarize
from training.studies.contenders import contenders

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Backtested:
    """A backtest's summary and the two files that hold it."""

    summary: dict
    report: Path
    predictions: Path


@flow(name="backtest", persist_result=False)
def run_backtest(
    first: str,
    until: str | None = None,
    lake_version: int | None = None,
    seed: int = 2017,
    frozen_from: str | None = None,
) -> Backtested:
    """Test every campaign that starts in ``[first, until)`` and write reports/backtest.json.

    With ``frozen_from`` the campaigns that start before it (on which settings were chosen) and
    those from it on are reported apart as well.
    """
    home = prepare_environment()
    lake = Lake(home)
    state = lake.state(lake_version)
    start = microseconds(instant(first))
    frame = before(step(dataset)(home, state), until)
    starts, frozen = checked_origins(frame, start), None
    if frozen_from is not None:
        frozen = microseconds(instant(frozen_from))
        check_parts(frame, starts, frozen)
    requests = before(step(request_frame)(home, state, start), until)
    config = RankerConfig(seed=seed)
    models = contenders(config, lambda start: purchases_before(lake, state, start), seed)
    scored, asked = step(backtest)(frame, requests, start, models, report_progress)
    types, plans = step(campaign_types)(lake, state), step(catalog)(lake, state, scored)
    found = step(summarize)(scored, types, plans, PLAIN_RULES, seed)
    found["requests"] = step(compare_models)(asked, plans, PLAIN_RULES, seed)
    if frozen is not None:
        parts = split_frozen(scored, frozen)
        found["parts"] = {
            name: step(compare_models)(part, plans, PLAIN_RULES, seed)
            for name, part in parts.items()
        }
    asked = {"first": first, "until": until, "frozen_from": frozen_from, "seed": seed}
    asked["config"] = asdict(config)
    origin = {"lake_version": state.number, "commit": git_commit()}
    return step(write)(home, asked | origin | found, scored)


def request_frame(home: Path, state: State, first: int) -> RankingFrame:
    """The frame of what requests would have ranked from an instant on."""
    store = apply()
    store.config.offline_store.lake_version = state.number
    raw = raw_tables(Lake(home), state)
    asked = replace(raw, exposures=request_exposures(raw.exposures, first))
    return build_frame(
        asked, feast_reader(store), lambda done, total: report_progress("requests", done, total)
    )


def catalog(lake: Lake, state: State, scored: BacktestScores) -> Catalog:
    """All coupons that were tested, by their scopes, and how many users there are."""
    last = purchases_before(lake, state, int(scored.fold.max()))
    users = lake.known("users", state).num_rows
    return catalog_of(last.for_coupons(scored.frame.coupon_id), users)


def write(home: Path, summary: dict, scored: BacktestScores) -> Backtested:
    """Write the summary and every model's score of every pair, one model after the other."""
    import pyarrow.parquet as pq

    folder = home / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    report, predictions = folder / "backtest.json", folder / "backtest_predictions.parquet"
    tables = _predictions(scored)
    first = next(tables)
    with pq.ParquetWriter(predictions, first.schema, compression="zstd") as writer:
        for table in chain([first], tables):
            writer.write_table(table)
    report.write_text(json.dumps(json_ready(summary), indent=1, allow_nan=False))
    return Backtested(summary, report, predictions)


def _predictions(scored: BacktestScores) -> Iterator["pa.Table"]:
    import pyarrow as pa

    folds = pa.array(scored.fold).cast(pa.timestamp("us", "UTC"))
    for name, scores in scored.scores.items():
        yield predictions_table(scored.frame, {name: scores}).add_column(0, "fold", folds)


def before(frame: RankingFrame, until: str | None) -> RankingFrame:
    """The pairs of exposures before an instant; without one, all."""
    return frame if until is None else take(frame, frame.as_of < microseconds(instant(until)))


def microseconds(at: datetime) -> int:
    """An instant as int64 microseconds since the epoch, UTC."""
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
