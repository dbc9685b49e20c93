"""Backtest: every campaign ranked by models that knew only what came before it."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import flow

from feature_repo.lake import Lake, State, instant
from flows.materialize import apply
from flows.steps import git_commit, prepare_environment, step, tell
from flows.trial import campaign_types, dataset
from training.backtest import Scored, backtest, started
from training.baselines import PLAIN_RULES
from training.contenders import contenders
from training.dataset import build_frame, feast_reader, raw_tables
from training.evaluate import predictions_table
from training.frame import RankingFrame, take
from training.list_metrics import Catalog, catalog_of
from training.purchases import purchases_before
from training.ranker import RankerConfig
from training.requests import request_exposures
from training.summary import compared, summarize


@dataclass(frozen=True)
class Backtested:
    """A backtest's summary and the two files that hold it."""

    summary: dict
    report: Path
    predictions: Path


@flow(name="backtest", persist_result=False)
def run_backtest(
    first: str, until: str | None = None, lake_version: int | None = None, seed: int = 2017
) -> Backtested:
    """Test every campaign that starts in ``[first, until)`` and write reports/backtest.json."""
    home = prepare_environment()
    lake = Lake(home)
    state = lake.state(lake_version)
    start = microseconds(instant(first))
    frame = before(step(dataset)(home, state), until)
    started(frame, start)
    requests = before(step(request_frame)(home, state, start), until)
    config = RankerConfig(seed=seed)
    models = contenders(config, lambda start: purchases_before(lake, state, start), seed)
    scored, asked = step(backtest)(frame, requests, start, models, tell)
    types, plans = step(campaign_types)(lake, state), step(catalog)(lake, state, scored)
    found = step(summarize)(scored, types, plans, PLAIN_RULES, seed)
    found["requests"] = step(compared)(asked, plans, PLAIN_RULES, seed)
    asked = {"first": first, "until": until, "seed": seed, "config": asdict(config)}
    origin = {"lake_version": state.number, "commit": git_commit()}
    return step(write)(home, asked | origin | found, scored)


def request_frame(home: Path, state: State, first: int) -> RankingFrame:
    """The frame of what requests would have ranked from an instant on."""
    store = apply()
    store.config.offline_store.lake_version = state.number
    raw = raw_tables(Lake(home), state)
    asked = replace(raw, exposures=request_exposures(raw.exposures, first))
    return build_frame(
        asked, feast_reader(store), lambda done, total: tell("requests", done, total)
    )


def catalog(lake: Lake, state: State, scored: Scored) -> Catalog:
    """All coupons that were tested, by their scopes, and how many users there are."""
    last = purchases_before(lake, state, int(scored.fold.max()))
    users = lake.known("users", state).num_rows
    return catalog_of(last.of_coupons(scored.frame.coupon_id), users)


def write(home: Path, summary: dict, scored: Scored) -> Backtested:
    """Write the summary and every model's score of every pair, fold by fold."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = home / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    report, predictions = folder / "backtest.json", folder / "backtest_predictions.parquet"
    table = predictions_table(scored.frame, scored.scores)
    folds = pa.array(scored.fold.tolist() * len(scored.scores)).cast(pa.timestamp("us", "UTC"))
    pq.write_table(table.add_column(0, "fold", folds), predictions, compression="zstd")
    report.write_text(json.dumps(summary, indent=1))
    return Backtested(summary, report, predictions)


def before(frame: RankingFrame, until: str | None) -> RankingFrame:
    """The pairs of exposures before an instant; without one, all."""
    return frame if until is None else take(frame, frame.as_of < microseconds(instant(until)))


def microseconds(at: datetime) -> int:
    """An instant as int64 microseconds since the epoch, UTC."""
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
