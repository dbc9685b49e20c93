"""Local times and days of a zone in SQL: the instants that they name.

A zone skips times when its clocks go forward, and has some twice when they go back. Of a time that
occurs twice, the later instant counts. A day begins at its first instant, also where clocks skip
its midnight or show it twice.
"""

from typing import TYPE_CHECKING

from feature_repo.lake.duckdb_files import literal

if TYPE_CHECKING:
    import duckdb

# Half a day before a midnight, clocks still show the time of the day before.
_MACROS = """
CREATE OR REPLACE TEMP MACRO midnight_by_old_clock(zone, day) AS
    timezone(zone, day - INTERVAL 12 HOUR) + INTERVAL 12 HOUR;
CREATE OR REPLACE TEMP MACRO day_start(zone, day) AS CASE
    WHEN timezone(zone, midnight_by_old_clock(zone, day)) = day
        THEN midnight_by_old_clock(zone, day)
    WHEN timezone(zone, timezone(zone, day)) = day THEN timezone(zone, day)
    WHEN date_trunc('day', timezone(zone, midnight_by_old_clock(zone, day))) = day
        THEN midnight_by_old_clock(zone, day)
    END;
CREATE OR REPLACE TEMP MACRO local_instant(zone, local) AS CASE
    WHEN timezone(zone, timezone(zone, local)) = local THEN timezone(zone, local)
    WHEN date_trunc('day', local) = local THEN day_start(zone, local)
    END;
CREATE OR REPLACE TEMP MACRO after_last_day(zone, moment) AS CASE
    WHEN moment = day_start(zone, CAST(date_trunc('day', timezone(zone, moment)) AS TIMESTAMP))
        THEN day_start(zone, date_trunc('day', timezone(zone, moment)) + INTERVAL 1 DAY)
    ELSE moment END;
"""


def create_macros(connection: "duckdb.DuckDBPyConnection") -> None:
    """Defines the macros that the functions of this module use."""
    connection.execute(_MACROS)


def instant_of_day(zone: str, day: str) -> str:
    """Returns SQL for the first instant of a local day, given its midnight; null if skipped."""
    return f"day_start({literal(zone)}, {day})"


def instant_of_time(zone: str, time: str) -> str:
    """Returns SQL for the instant of a local time; null if the zone skips it.

    A midnight that is skipped stands for its day.
    """
    return f"local_instant({literal(zone)}, {time})"


def end_of_day(zone: str, instant: str) -> str:
    """Returns SQL for the end of the local day that begins at an instant; other instants stay."""
    return f"after_last_day({literal(zone)}, {instant})"
