"""Backtest: ranks every campaign with models that are trained only on earlier data."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow

from feature_repo.instants import microseconds
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State, instant
from feature_repo.names import HOME
from flows.experiment_data import campaign_types, dataset
from flows.materialize import apply
from flows.runtime import as_task, git_commit, prepare_environment, report_progress
from training.data.dataset import build_frame, feast_reader, raw_tables
from training.data.frame import RankingFrame, take
from training.data.purchase_matrix import purchases_before
from training.data.request_exposures import request_exposures
from training.evaluation.list_metrics import Catalog, catalog_of
from training.evaluation.predictions import predictions_table
from training.models.baselines import PLAIN_RULES
from training.models.ranker import RankerConfig
from training.studies.backtest_scores import BacktestScores
from training.studies.backtest_summary import compare_models, json_ready, summarize
from training.studies.campaign_folds import backtest, check_parts, checked_origins, split_frozen
from training.studies.contenders import contenders

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Backtested:
    """The summary of a backtest, its JSON file, and the Parquet file with all scores."""

    summary: Mapping[str, Any]
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
    """Tests every campaign that starts in ``[first, until)`` and writes reports/backtest.json.

    ``frozen_from`` adds a separate summary for the campaigns before it, on which settings were
    chosen, and one for the campaigns from it on.
    """
    home = prepare_environment()
    lake = Lake(home)
    state, start = lake.state(lake_version), microseconds(instant(first))
    frame = exposures_before(as_task(dataset)(home, state), until)
    frozen = _frozen_start(frame, start, frozen_from)
    requests = exposures_before(as_task(request_frame)(home, state, start), until)
    config = RankerConfig(seed=seed)
    models = contenders(config, lambda start: purchases_before(lake, state, start), seed)
    scored, ranked = as_task(backtest)(frame, requests, start, models, report_progress)
    found = summary_of(lake, state, scored, ranked, frozen, seed)
    options = {"first": first, "until": until, "frozen_from": frozen_from, "seed": seed}
    origin = {"config": asdict(config), "lake_version": state.number, "commit": git_commit()}
    return as_task(write)(home, options | origin | found, scored)


def summary_of(
    lake: Lake,
    state: State,
    scored: BacktestScores,
    ranked: BacktestScores,
    frozen: int | None,
    seed: int,
) -> dict[str, Any]:
    """Summarizes the scored exposures, the ranked requests, and the two parts around ``frozen``."""
    types, plans = as_task(campaign_types)(lake, state), as_task(catalog)(lake, state, scored)
    found = as_task(summarize)(scored, types, plans, PLAIN_RULES, seed)
    found["requests"] = as_task(compare_models)(ranked, plans, PLAIN_RULES, seed)
    if frozen is not None:
        found["parts"] = {
            name: as_task(compare_models)(part, plans, PLAIN_RULES, seed)
            for name, part in split_frozen(scored, frozen).items()
        }
    return found


def request_frame(home: Path, state: State, first: int) -> RankingFrame:
    """Builds the frame of the candidates that requests would rank.

    ``first`` is the earliest request, in int64 microseconds.
    """
    store = apply()
    store.config.offline_store.lake_version = state.number
    raw = raw_tables(Lake(home), state)
    requested = replace(raw, exposures=request_exposures(raw.exposures, first))
    return build_frame(
        requested, feast_reader(store), lambda done, total: report_progress("requests", done, total)
    )


def catalog(lake: Lake, state: State, scored: BacktestScores) -> Catalog:
    """Returns the scopes of all tested coupons, and the number of users."""
    last = purchases_before(lake, state, int(scored.fold.max()))
    users = lake.known("users", state).num_rows
    return catalog_of(last.for_coupons(scored.frame.coupon_id.tolist()), users)


def write(home: Path, summary: Mapping[str, Any], scored: BacktestScores) -> Backtested:
    """Writes the summary, and the score of every model for every pair, one model at a time."""
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
        yield predictions_table(HOME.key, scored.frame, {name: scores}).add_column(0, "fold", folds)


def exposures_before(frame: RankingFrame, until: str | None) -> RankingFrame:
    """Returns the pairs of exposures before an instant; all pairs without one."""
    return frame if until is None else take(frame, frame.as_of < microseconds(instant(until)))


def _frozen_start(frame: RankingFrame, first: int, frozen_from: str | None) -> int | None:
    """Checks the campaigns of the backtest and converts ``frozen_from`` to microseconds.

    Raises BacktestError if no campaign starts at ``first`` or later, or if a part is empty.
    """
    starts = checked_origins(frame, first)
    if frozen_from is None:
        return None
    frozen = microseconds(instant(frozen_from))
    check_parts(frame, starts, frozen)
    return frozen
