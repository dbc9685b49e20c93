"""Backtest: ranks every visit with models that are trained only on earlier data."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow

from feature_repo.instants import from_microseconds, microseconds
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State, instant
from feature_repo.names import RANKERS
from flows.experiment_data import (
    OTHERS,
    campaign_starts,
    campaign_types,
    exposure_frame,
    lake_store,
    visit_requests,
)
from flows.runtime import as_task, git_commit, prepare_environment, report_progress
from training.data.dataset import feast_reader
from training.data.frame import RankingFrame, take
from training.data.purchase_matrix import purchases_before
from training.data.request_frames import frames_of_rankers, request_frames, request_tables
from training.data.sample import Sample
from training.evaluation.compare import RANKER
from training.evaluation.list_metrics import Catalog, catalog_of
from training.evaluation.predictions import PredictionsFile
from training.models.baselines import plain_rules
from training.models.ranker import RankerConfig
from training.studies.backtest import Contender, backtest, planned
from training.studies.backtest_scores import RollingScores, Visits, between
from training.studies.backtest_summary import json_ready, summarize_visits
from training.studies.contenders import contenders

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Backtested:
    """The summary of a backtest, its JSON file, and the Parquet files of scores and visits."""

    summary: Mapping[str, Any]
    report: Path
    predictions: Path
    visits: Path


@flow(name="backtest", persist_result=False)
def run_backtest(
    first: str,
    until: str | None = None,
    lake_version: int | None = None,
    seed: int = 2017,
    frozen_from: str | None = None,
    baselines: bool = False,
) -> Backtested:
    """Tests every visit in ``[first, until)`` and writes reports/backtest.json.

    The rankers are trained again every week and every month, on what was settled by then. ``until``
    is by default the watermark. ``frozen_from`` adds a separate summary for the visits before it,
    on which settings were chosen, and one for the visits from it on. ``baselines`` adds the
    textbook recommenders and classifiers.
    """
    home = prepare_environment()
    lake = Lake(home)
    state, start = lake.state(lake_version), microseconds(instant(first))
    end = microseconds(instant(until)) if until else microseconds(state.watermark)
    found = as_task(score_visits)(home, state, start, end, seed, baselines)
    frozen = microseconds(instant(frozen_from)) if frozen_from else None
    summaries = as_task(summaries_of)(lake, state, found, (start, frozen, end), seed)
    options = {"first": first, "until": until, "frozen_from": frozen_from, "seed": seed}
    origin = {"lake_version": state.number, "commit": git_commit()}
    return as_task(write)(home, options | origin | {"rankers": summaries}, found)


def score_visits(
    home: Path, state: State, start: int, end: int, seed: int, baselines: bool
) -> dict[str, RollingScores]:
    """Scores the visits of all rankers in one pass, and writes their scores block by block."""
    requests = _before(visit_requests(home, state), from_microseconds(end))
    exposures = exposure_frame(home, state, start)
    sample = Sample(min(1.0, OTHERS / max(requests.num_rows, 1)), seed)
    with PredictionsFile(_reports(home) / "backtest_predictions.parquet") as file:
        return backtest(
            _blocks(home, state, requests),
            {key: _plan(home, state, key, start, end, seed, baselines) for key in RANKERS},
            sample,
            file.write,
            # An exposure has no cart, so only the ranker without one can rank it.
            {} if exposures is None else {"home": take(exposures, exposures.as_of < end)},
        )


def _blocks(home: Path, state: State, requests: "pa.Table") -> Iterator[tuple[str, RankingFrame]]:
    """Yields the visits of each ranker, block by block, in order of time."""
    frames = request_frames(
        request_tables(Lake(home), state, requests),
        feast_reader(lake_store(state)),
        progress=lambda done, total: report_progress("visits", done, total),
    )
    return frames_of_rankers(frames, requests)


def _plan(
    home: Path, state: State, key: str, start: int, end: int, seed: int, baselines: bool
) -> dict[str, Contender]:
    fits = contenders(
        RankerConfig(ranker=key, seed=seed), partial(purchases_before, Lake(home), state), seed
    )
    names = fits if baselines else (RANKER, *plain_rules(key))
    return planned({name: fits[name] for name in names}, start, end)


def _before(requests: "pa.Table", end: datetime) -> "pa.Table":
    import pyarrow.compute as pc

    return requests.filter(pc.less(requests["event_timestamp"], end))


def summaries_of(
    lake: Lake,
    state: State,
    found: Mapping[str, RollingScores],
    bounds: tuple[int, int | None, int],
    seed: int,
) -> dict[str, Any]:
    """Summarizes each ranker, and the parts ``development`` and ``frozen`` of its visits.

    ``bounds`` are the start of the test, the start of the frozen part or None, and the end.
    """
    start, frozen, end = bounds
    types, starts = campaign_types(lake, state), campaign_starts(lake, state)
    plans = catalog(lake, state, found)
    out = {}
    for key, scored in found.items():
        whole = partial(
            summarize_visits,
            campaign_types=types,
            catalog=plans,
            rules=plain_rules(key),
            seed=seed,
            campaign_starts=starts,
        )
        out[key] = whole(scored)
        if frozen is not None:
            out[key]["parts"] = {
                "development": whole(between(scored, start, frozen)),
                "frozen": whole(between(scored, frozen, end)),
            }
    return out


def catalog(lake: Lake, state: State, found: Mapping[str, RollingScores]) -> Catalog:
    """Returns the scopes of all tested coupons, and the number of users."""
    frames = [scored.ordered.frame for scored in found.values()]
    last = purchases_before(lake, state, max(int(frame.as_of.max()) for frame in frames))
    users = lake.known("users", state).num_rows
    tested = dict.fromkeys(coupon for frame in frames for coupon in frame.coupon_id)
    return catalog_of(last.for_coupons(tested), users)


def write(home: Path, summary: Mapping[str, Any], found: Mapping[str, RollingScores]) -> Backtested:
    """Writes the summary, and a row for every visit with the probability of a redemption."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = _reports(home)
    report, visits = folder / "backtest.json", folder / "backtest_visits.parquet"
    report.write_text(json.dumps(json_ready(summary), indent=1, allow_nan=False))
    tables = [_visits(key, one.visits) for key, one in found.items()]
    pq.write_table(pa.concat_tables(tables), visits, compression="zstd")
    return Backtested(summary, report, folder / "backtest_predictions.parquet", visits)


def _visits(key: str, visits: Visits) -> "pa.Table":
    import pyarrow as pa

    columns = {one.name: pa.array(getattr(visits, one.name)) for one in fields(Visits)}
    columns["as_of"] = columns["as_of"].cast(pa.timestamp("us", "UTC"))
    return pa.table({"ranker": pa.repeat(pa.scalar(key), len(visits)), **columns})


def _reports(home: Path) -> Path:
    folder = home / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
