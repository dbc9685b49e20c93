"""The plans of a shop as of any instant: coupons, what they cover, and their terms.

A plan takes effect at its instant: the later of ``event_timestamp`` and ``created_timestamp``. So
one read of the lake is enough for all known instants, also those to come. A row in quarantine is a
version whose content is unknown. What is unknown closes: the coupon is held back, a product counts
as out of stock, and a redemption counts against every limit.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.contract import TABLES
from feature_repo.lake.duckdb_files import parquet, query
from feature_repo.lake.reader import Lake
from feature_repo.lake.state import State
from feature_repo.publication.publish import published, published_folder

if TYPE_CHECKING:
    import pyarrow as pa

END_OF_TIME = 2**62
"""An instant after all others, in microseconds."""

UNKNOWN = ("coupon_unknown", "scope_unknown", "terms_unknown")
"""The reasons for which a coupon is held back, in the order of the rules."""

_DETAILS = ("coupon_details", "coupon_scope")
_STATISTICS = ("coupon_popularity_stats", "coupon_redemption_stats", "coupon_campaign_stats")


@dataclass(frozen=True)
class PlansAsOf:
    """The plans in force at an instant, unchanged within ``[since, until)`` (microseconds).

    ``coupons`` has the columns of coupon_details and coupon_scope for each coupon, ordered by id,
    with ``covers_whole_cart`` and the flags of UNKNOWN. ``terms`` has the columns of coupon_terms
    for some of them; budgets are the lowest of the campaign. ``products`` has the columns of
    product_terms.
    """

    coupons: Mapping[str, list[Any]]
    terms: Mapping[str, list[Any]]
    products: Mapping[str, list[Any]]
    since: int
    until: int

    def held_back(self, instant: int) -> dict[str, str]:
        """Returns the first reason of UNKNOWN of each coupon held back, without ended coupons."""
        ends = self.coupons["valid_to_timestamp"]
        found: dict[str, str] = {}
        for reason in UNKNOWN:
            for coupon_id, end, held in zip(
                self.coupons["coupon_id"], ends, self.coupons[reason], strict=True
            ):
                if held and end > instant:
                    found.setdefault(coupon_id, reason)
        return found


@dataclass(frozen=True)
class Plans:
    """All versions of the plans in one state of the lake.

    ``tables`` are Arrow tables with an instant ``starts`` (microseconds). Those of the contract
    also have ``created`` and ``is_known``, false for a row in quarantine. The others are published
    views, from ``folder``.
    """

    tables: "Mapping[str, pa.Table]"
    folder: Path

    @cached_property
    def coupon_ids(self) -> list[str]:
        """The ids of all coupons, also of those to be announced, sorted."""
        return query("SELECT DISTINCT coupon_id FROM coupon_details ORDER BY 1", **self.tables)[
            "coupon_id"
        ].to_pylist()

    def as_of(self, instant: int) -> PlansAsOf:
        """Returns the plans in force at an instant, in microseconds."""
        place = int(np.searchsorted(self._instants, instant, side="right"))
        coupons, terms, products = (
            query(sql, {"instant": instant}, **self.tables).to_pydict()
            for sql in (_COUPONS, _TERMS, _PRODUCTS)
        )
        since, until = self._instants[place - 1 : place + 1].tolist()
        return PlansAsOf(coupons, terms, products, since, until)

    @property
    def planned(self) -> frozenset[str]:
        """The coupon features that are plans: those of coupon_details and coupon_scope."""
        return frozenset(one for name in _DETAILS for one in self.tables[name].column_names)

    def statistics(self, coupon_ids: Collection[str]) -> Callable[[int], dict[str, dict[str, Any]]]:
        """Reads the statistics of some coupons; returns a function of the instant.

        Its result has the features of each coupon as of that instant, by coupon id.
        """
        tables = {one: _changes(self.folder, one, coupon_ids) for one in _STATISTICS if coupon_ids}

        def as_of(instant: int) -> dict[str, dict[str, Any]]:
            found: dict[str, dict[str, Any]] = {one: {} for one in coupon_ids}
            for name, table in tables.items():
                sql = f"SELECT * EXCLUDE (starts) FROM ({_newest(name)})"
                for row in query(sql, {"instant": instant}, **{name: table}).to_pylist():
                    found[row["coupon_id"]] |= row
            return found

        return as_of

    @property
    def refused_redemptions(self) -> list[dict[str, Any]]:
        """Redemptions in quarantine: ``coupon_id``, ``campaign_id``, ``user_id`` and ``amount``.

        All but the first can be null. A coupon that moved to another campaign has a redemption in
        each.
        """
        rows = query(
            "SELECT coupon_id, campaign_id, user_id, amount FROM refused LEFT JOIN "
            "(SELECT DISTINCT coupon_id, campaign_id FROM coupons) USING (coupon_id)",
            **self.tables,
        )
        return rows.to_pylist()

    def ever_limited(self, names: Collection[str]) -> dict[str, str]:
        """Returns the coupons with one of these limits in any version, or in their campaign's.

        The result maps each to its campaign.
        """
        terms, coupons = (
            " OR ".join(
                (
                    "false",
                    *(f"{one} IS NOT NULL" for one in names if one in TABLES[name].column_names),
                )
            )
            for name in ("coupon_terms", "coupons")
        )
        rows = query(
            f"""
            WITH limited AS (
                SELECT coupon_id FROM coupon_terms WHERE {terms}
                UNION SELECT coupon_id FROM coupons WHERE {coupons}),
            budgeted AS (
                SELECT campaign_id FROM coupons
                WHERE coupon_id IN (SELECT coupon_id FROM coupon_terms WHERE has_budget))
            SELECT coupon_id, max(campaign_id) AS campaign_id FROM coupons
            WHERE campaign_id IS NOT NULL
                AND (coupon_id IN (FROM limited) OR campaign_id IN (FROM budgeted)) GROUP BY 1""",
            **self.tables,
        ).to_pydict()
        return dict(zip(rows["coupon_id"], rows["campaign_id"], strict=True))

    @cached_property
    def _instants(self) -> np.ndarray:
        """The instants at which a plan takes effect, between the beginning and the end of time."""
        names = ("coupons", "coupon_terms", "product_terms", *_DETAILS)
        parts = [self.tables[name]["starts"].to_numpy() for name in names]
        return np.unique(np.concatenate([[-END_OF_TIME, END_OF_TIME], *parts]).astype(np.int64))


def newest_published(lake: Lake) -> State | None:
    """Returns the newest state whose features are published; None if there is none."""
    for number in reversed(lake.numbers()):
        if published_folder(lake, number).is_dir():
            return lake.state(number)
    return None


def read_plans(lake: Lake, state: State) -> Plans:
    """Reads all versions of the plans in a state, whose features are published if missing."""
    folder = published(lake, state)
    views = {name: _changes(folder, name) for name in _DETAILS}
    held = lake.quarantine(state)
    rows = {name: _versions(lake, state, name, held) for name in _WITH_VERSIONS}
    pairs = query(_pairs(lake, state, held), **_registered(held))
    refused = query(_refused(held), **_registered(held))
    return Plans({**views, **rows, "pairs": pairs, "refused": refused}, folder)


def _changes(folder: Path, view: str, coupon_ids: Collection[str] | None = None) -> "pa.Table":
    """Reads the published rows of a view of coupons, of all coupons or some."""
    import pyarrow as pa

    wanted = pa.table({"coupon_id": pa.array(sorted(coupon_ids or ()), pa.string())})
    some = "" if coupon_ids is None else "SEMI JOIN wanted USING (coupon_id)"
    return query(
        "SELECT * EXCLUDE (event_timestamp, created_timestamp), "
        f"epoch_us(event_timestamp) AS starts "
        f"FROM {parquet([str(folder / f'{view}.parquet')])} {some}",
        wanted=wanted,
    )


_WITH_VERSIONS = ("coupons", "coupon_terms", "product_terms")


def _versions(lake: Lake, state: State, name: str, held: "pa.Table | None") -> "pa.Table":
    """Reads the versions of a table, with those in quarantine."""
    table = TABLES[name]
    columns = [c.name for c in table.columns if c.type != "timestamp"]
    known = f"""
        SELECT {", ".join(columns)}, true AS is_known,
            epoch_us(greatest(event_timestamp, created_timestamp)) AS starts,
            epoch_us(created_timestamp) AS created FROM ({lake.scan(name, state)})"""
    # Only the key, the campaign and a budget of a refused row are read.
    (key,) = table.key
    read = [one for one in (key, "campaign_id") if one in columns]
    texts = ", ".join(f"{_text(one)} AS {one}" for one in read)
    refused = f"""
        SELECT {texts}, false AS is_known,
            {_STARTS} AS starts, {_CREATED} AS created,
            {_text("campaign_budget")} IS NOT NULL OR {_text("user_budget")} IS NOT NULL
                AS refused_budget
        FROM held WHERE "table" = '{name}' AND {_text(key)} IS NOT NULL"""
    budget = "false"
    if name == "coupon_terms":
        budget = "campaign_budget IS NOT NULL OR user_budget IS NOT NULL"
    both = known if held is None else f"{known} UNION ALL BY NAME {refused}"
    given = "false" if held is None else "coalesce(refused_budget, false)"
    exclude = "" if held is None else " EXCLUDE (refused_budget)"
    return query(
        f"SELECT *{exclude}, ({budget}) OR {given} AS has_budget FROM ({both})", **_registered(held)
    )


def _pairs(lake: Lake, state: State, held: "pa.Table | None") -> str:
    """The number of products that each coupon covers in any version, or is to cover if repaired."""
    known = f"SELECT coupon_id, product_id FROM ({lake.scan('coupon_products', state)})"
    if held is not None:
        known += f"""
            UNION ALL SELECT {_text("coupon_id")}, quarantine_id FROM held
            WHERE "table" = 'coupon_products' AND {_text("coupon_id")} IS NOT NULL"""
    return f"SELECT coupon_id, count(DISTINCT product_id) AS products FROM ({known}) GROUP BY 1"


def _refused(held: "pa.Table | None") -> str:
    if held is None:
        return "SELECT '' AS coupon_id, '' AS user_id, 0 AS amount WHERE false"
    # The amount of a row that only waits for its user is right; that of another may be the fault.
    return f"""
        SELECT {_text("coupon_id")} AS coupon_id, {_text("user_id")} AS user_id,
            CASE WHEN rule = 'unknown_parent'
                THEN TRY_CAST({_text("discount_amount")} AS BIGINT) END AS amount
        FROM held WHERE "table" = 'redemptions' AND {_text("coupon_id")} IS NOT NULL"""


def _registered(held: "pa.Table | None") -> "dict[str, pa.Table]":
    return {} if held is None else {"held": held}


def _text(column: str) -> str:
    return f"json_extract_string(payload, '$.{column}')"


def _instant(column: str) -> str:
    """Returns SQL for an instant of a refused row; null if it is unreadable or has no zone."""
    zoned = f"regexp_full_match({_text(column)}, '.*:.*(Z|[+-]\\d\\d(:?\\d\\d)?)')"
    return f"CASE WHEN {zoned} THEN epoch_us(TRY_CAST({_text(column)} AS TIMESTAMPTZ)) END"


# A row that waits for a parent has no fault, so its instants are right, and a correction learned
# later counts before it. Any other row stays in quarantine until a later row of its key replaces
# it, so it is the newest one. Its instant is not trusted if that may be the fault.
_WAITS = "rule = 'unknown_parent'"
_CREATED = f"CASE WHEN {_WAITS} THEN {_instant('created_timestamp')} ELSE {END_OF_TIME} END"
_STARTS = f"""
    CASE WHEN rule NOT IN ('minimum', 'maximum', 'time_order', 'in_the_future')
        AND {_instant("event_timestamp")} IS NOT NULL
        AND {_instant("created_timestamp")} IS NOT NULL
    THEN greatest({_instant("event_timestamp")}, {_instant("created_timestamp")})
    ELSE {-END_OF_TIME} END"""


def _newest(view: str) -> str:
    """Returns SQL for the rows of a published view in force at $instant."""
    return (
        f"SELECT DISTINCT ON (coupon_id) * FROM {view} WHERE starts <= $instant "
        "ORDER BY coupon_id, starts DESC"
    )


def _in_force(table: str) -> str:
    """Returns SQL for the version of each row in force at $instant: the one learned last.

    Of two with the same instant of learning, the unknown one counts.
    """
    (key,) = TABLES[table].key
    return (
        f"SELECT * FROM {table} WHERE starts <= $instant QUALIFY row_number() OVER "
        f"(PARTITION BY {key} ORDER BY created DESC, is_known, starts DESC) = 1"
    )


_STATED = f"""
    coupon AS ({_in_force("coupons")}),
    term AS ({_in_force("coupon_terms")}),
    campaign AS (SELECT DISTINCT coupon_id, campaign_id FROM coupons
        WHERE campaign_id IS NOT NULL),
    budget AS (SELECT campaign_id, min(campaign_budget) AS campaign_budget,
        min(user_budget) AS user_budget
        FROM term JOIN campaign USING (coupon_id) WHERE is_known GROUP BY 1)"""

_COUPONS = f"""
    WITH {_STATED},
    termed AS (SELECT coupon_id, bool_or(has_budget) AS has_budget FROM coupon_terms GROUP BY 1),
    untold AS (SELECT coupon_id, has_budget FROM termed WHERE coupon_id NOT IN (
        SELECT coupon_id FROM term WHERE is_known)),
    closed AS (SELECT DISTINCT campaign_id FROM untold JOIN campaign USING (coupon_id)
        WHERE has_budget),
    details AS ({_newest("coupon_details")}),
    scope AS ({_newest("coupon_scope")})
    SELECT d.* EXCLUDE (starts), s.* EXCLUDE (starts, coupon_id),
        coalesce(c.covers_whole_cart, false) AND p.coupon_id IS NULL AS covers_whole_cart,
        NOT coalesce(c.is_known, false) AS coupon_unknown,
        coalesce(s.scope_product_count, 0) = 0
                AND NOT (coalesce(c.covers_whole_cart, false) AND p.coupon_id IS NULL)
            OR t.min_margin IS NOT NULL
                AND coalesce(p.products, 0) > coalesce(s.scope_product_count, 0) AS scope_unknown,
        u.coupon_id IS NOT NULL OR (coalesce(c.has_terms, false) AND t.coupon_id IS NULL)
            OR d.campaign_id IN (FROM closed) AS terms_unknown
    FROM details d LEFT JOIN scope s USING (coupon_id) LEFT JOIN coupon c USING (coupon_id)
    LEFT JOIN term t USING (coupon_id) LEFT JOIN untold u USING (coupon_id)
    LEFT JOIN pairs p USING (coupon_id) ORDER BY d.coupon_id"""

_TERMS = f"""
    WITH {_STATED}
    SELECT d.coupon_id, t.* EXCLUDE (coupon_id, campaign_budget, user_budget),
        b.campaign_budget, b.user_budget
    FROM ({_newest("coupon_details")}) d LEFT JOIN term t USING (coupon_id)
    LEFT JOIN budget b ON b.campaign_id = d.campaign_id
    WHERE t.coupon_id IS NOT NULL OR b.campaign_id IS NOT NULL ORDER BY 1"""

# A product whose terms are unknown is out of stock, and its cost is unknown.
_PRODUCTS = f"""
    WITH term AS ({_in_force("product_terms")})
    SELECT product_id, CASE WHEN is_known THEN stock ELSE 0 END AS stock, unit_cost
    FROM (SELECT DISTINCT product_id FROM product_terms) LEFT JOIN term USING (product_id)
    ORDER BY 1"""
