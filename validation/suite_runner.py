"""Runs of Great Expectations: one suite on one table, and the rows that fail each rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from feature_repo.contract import Table
from validation.findings import ROW
from validation.suites import RULES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from great_expectations import ExpectationSuite

_SHOWN_IN_DOCS = 200

# With named index columns GX builds a dict for each failing row, with two pandas look-ups each:
# 35 s for 200,000 failures in 1.5 million rows. With row numbers in the unnamed index of the frame,
# GX returns the index values (5 s).
_RESULT_FORMAT = {"result_format": "COMPLETE", "return_unexpected_index_query": False}


class SuiteError(Exception):
    """Great Expectations could not check a table; the message names the expectation."""


@dataclass(frozen=True)
class Failure:
    """Rows of one table that break one rule: their numbers, and the sentence for each of them.

    ``sentence`` is a format string with the row's columns.
    """

    rule: str
    column: str
    sentence: str
    rows: "np.ndarray"


@dataclass(frozen=True)
class SuiteResult:
    """The result of a suite on a table.

    ``failures`` are in the order of ``RULES``. ``stale_since`` is the newest instant of a table
    that is not fresh, else None. ``result`` is GX's validation result, for Data Docs.
    """

    failures: tuple[Failure, ...]
    stale_since: str | None
    result: Any


def ephemeral_context() -> Any:
    """Returns a Great Expectations context without files, progress bars and telemetry."""
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


def run_suite(
    context: Any, table: Table, rows: "pa.Table", suite: "ExpectationSuite", as_of: datetime
) -> SuiteResult:
    """Runs a suite on the rows (Arrow, with ``_row`` and findings).

    Raises SuiteError if an expectation cannot be evaluated, so that no row lands unchecked.
    """
    result = _run(context, table, _frame(table, rows), suite, as_of)
    failures: list[Failure] = []
    stale_since = None
    for outcome in result.results:
        meta = outcome.expectation_config.meta
        if outcome.exception_info.get("raised_exception"):
            raise SuiteError(_unchecked(table, meta, outcome))
        if outcome.success:
            continue
        if meta["rule"] in RULES:
            failures.append(_failure(meta, outcome))
        elif meta["rule"] == "freshness":
            stale_since = str(outcome.result["observed_value"])
        elif meta["rule"] != "reject":
            raise SuiteError(_unchecked(table, meta, outcome))
    return SuiteResult(tuple(sorted(failures, key=_order)), stale_since, result)


def _order(failure: Failure) -> tuple[int, str]:
    return RULES.index(failure.rule), failure.column


def _run(
    context: Any,
    table: Table,
    frame: "pd.DataFrame",
    suite: "ExpectationSuite",
    as_of: datetime,
) -> Any:
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
    # GX keeps its last context until the process ends, and a data source keeps its frame.
    context.data_sources.delete(table.name)
    return result


def _frame(table: Table, rows: "pa.Table") -> "pd.DataFrame":
    """Converts the rows to a pandas frame with the row numbers as its unnamed index.

    Strings stay in Arrow, so that GX's many copies of the frame are cheap. Integers become float64,
    which allows nulls and which GX compares as a whole column.
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


def _failure(meta: Mapping[str, str], outcome: Any) -> Failure:
    import numpy as np

    rows = np.asarray(outcome.result["unexpected_index_list"], dtype=np.int64)
    if len(rows) != outcome.result["unexpected_count"]:
        raise SuiteError(
            f"{meta['rule']} on {meta['column']}: Great Expectations counted "
            f"{outcome.result['unexpected_count']} failing rows but listed {len(rows)}; nothing "
            "landed. Install the release of Great Expectations that the lock names."
        )
    outcome.result["unexpected_index_list"] = rows[:_SHOWN_IN_DOCS].tolist()
    return Failure(meta["rule"], meta["column"], meta["sentence"], rows)


def _unchecked(table: Table, meta: Mapping[str, str], outcome: Any) -> str:
    config = outcome.expectation_config
    reason = outcome.exception_info.get("exception_message") or outcome.result
    return (
        f"{table.name}: the rule {meta['rule']} ({config.type} on "
        f"{config.kwargs.get('column', 'the table')}) could not be checked: {reason}. "
        "Nothing landed; fix the source or the suite and run again."
    )
