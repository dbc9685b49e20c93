"""Great Expectations at work: one suite over one table, and which rows it refuses."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from feature_repo.contract import Table
from validation.findings import ROW
from validation.suites import RULES

_SHOWN_IN_DOCS = 200

# Named index columns would make GX build one dict a failing row with two pandas look-ups each:
# 35 s for 200,000 failures in 1.5 million rows. The frame's unnamed index holds the row numbers
# instead, which GX lists as they are (5 s).
_RESULT_FORMAT = {"result_format": "COMPLETE", "return_unexpected_index_query": False}


class JudgeError(Exception):
    """Great Expectations could not judge a table; the message names the expectation."""


@dataclass(frozen=True)
class Failure:
    """Rows of one table that break one rule: their numbers, and the sentence to say of each."""

    rule: str
    column: str
    sentence: str
    rows: object


@dataclass(frozen=True)
class Verdict:
    """What a suite said of a table.

    ``failures`` come in the order of ``RULES``. ``stale_since`` is the newest instant of a table
    that is not fresh. ``result`` is GX's own validation result, for Data Docs.
    """

    failures: tuple[Failure, ...]
    stale_since: str | None
    result: object


def ephemeral_context():
    """A Great Expectations context that writes no file, shows no bar and reports to nobody."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def judge(context, table: Table, rows, suite, as_of: datetime) -> Verdict:
    """Hold the rows (Arrow, with ``_row`` and findings) against a suite.

    Raises JudgeError if an expectation could not be evaluated: nothing lands unjudged.
    """
    result = _run(context, table, _frame(table, rows), suite, as_of)
    failures, stale_since = [], None
    for outcome in result.results:
        meta = outcome.expectation_config.meta
        if outcome.exception_info.get("raised_exception"):
            raise JudgeError(_not_judged(table, meta, outcome))
        if outcome.success:
            continue
        if meta["rule"] in RULES:
            failures.append(_failure(meta, outcome))
        elif meta["rule"] == "freshness":
            stale_since = str(outcome.result["observed_value"])
        elif meta["rule"] != "reject":
            raise JudgeError(_not_judged(table, meta, outcome))
    return Verdict(tuple(sorted(failures, key=_order)), stale_since, result)


def _order(failure: Failure) -> tuple[int, str]:
    return RULES.index(failure.rule), failure.column


def _run(context, table: Table, frame, suite, as_of: datetime):
    from great_expectations import ValidationDefinition
    from great_expectations.core.run_identifier import RunIdentifier

    asset = context.data_sources.add_pandas(table.name).add_dataframe_asset(table.name)
    definition = ValidationDefinition(
        name=table.name,
        data=asset.add_batch_definition_whole_dataframe("batch"),
        suite=context.suites.add(suite),
    )
    result = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": frame},
        result_format=_RESULT_FORMAT,
        run_id=RunIdentifier(run_name=table.name, run_time=as_of),
    )
    # GX keeps its last context for the life of the process, and a source keeps its frame.
    context.data_sources.delete(table.name)
    return result


def _frame(table: Table, rows):
    """The rows as a pandas frame whose unnamed index is the row number.

    Strings stay in Arrow, which makes GX's many copies of the frame cheap. Integers become
    float64, which holds their nulls and which GX compares as a whole column.
    """
    import pandas as pd
    import pyarrow as pa

    for column in table.columns:
        if column.type == "int64":
            position = rows.schema.get_field_index(column.name)
            floats = rows[column.name].cast(pa.float64(), safe=False)
            rows = rows.set_column(position, column.name, floats)
    kinds = {pa.string(): pd.StringDtype("pyarrow"), pa.bool_(): pd.BooleanDtype()}
    frame = rows.to_pandas(types_mapper=kinds.get)
    frame.index = pd.Index(frame.pop(ROW).to_numpy())
    return frame


def _failure(meta: Mapping[str, str], outcome) -> Failure:
    import numpy as np

    rows = np.asarray(outcome.result["unexpected_index_list"], dtype=np.int64)
    if len(rows) != outcome.result["unexpected_count"]:
        raise JudgeError(
            f"{meta['rule']} on {meta['column']}: Great Expectations counted "
            f"{outcome.result['unexpected_count']} failing rows but listed {len(rows)}; "
            "this is a fault of the release in use, and nothing was judged."
        )
    outcome.result["unexpected_index_list"] = rows[:_SHOWN_IN_DOCS].tolist()
    return Failure(meta["rule"], meta["column"], meta["sentence"], rows)


def _not_judged(table: Table, meta: Mapping[str, str], outcome) -> str:
    config = outcome.expectation_config
    why = outcome.exception_info.get("exception_message") or outcome.result
    return (
        f"{table.name}: the rule {meta['rule']} ({config.type} on "
        f"{config.kwargs.get('column', 'the table')}) could not be judged: {why}. "
        "Nothing was let through; fix the source or the suite and run again."
    )
