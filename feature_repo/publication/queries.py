"""The queries that publish all views, ordered so that they share intermediate results.

They depend on the transforms alone and not on the lake, so a process compiles them once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from feature_repo.contract import TABLES

if TYPE_CHECKING:
    import ibis

    Build = Callable[[], ibis.Table | tuple[ibis.Table, ...]]
    """Composes the change rows of a view and, for an assembled view, its entries."""

ASSEMBLED = {"user_purchase_history": "history", "user_recent_purchases": "recent"}
"""Views with rows that are assembled from entries at the time of a read, and their prefix."""


@dataclass(frozen=True)
class CreateTable:
    """A step that stores the result of a query under a name for later queries."""

    name: str
    query: str


@dataclass(frozen=True)
class DropTables:
    """A step that drops results that no later query reads."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class WriteView:
    """A step that writes a view's change rows and, for an assembled view, its entries."""

    name: str
    rows: str
    entries: str | None = None


Step = CreateTable | DropTables | WriteView


@cache
def view_queries() -> tuple[Step, ...]:
    """Plans the steps that publish all views from raw tables with the names of ``raw_columns``."""
    import ibis

    from feature_repo.transforms.history import product, user

    raw = {
        name: ibis.table({c: kind for c, (_, kind) in raw_columns(name).items()}, name=name)
        for name in TABLES
    }
    script = _Script()
    attributes = script.stage(product.attributes(raw["products"]))
    _user_views(script, raw, attributes)
    script.drop(before=1)
    by_user = script.stage(product.daily(user.purchases(raw["events"]), ["product_id", "user_id"]))
    _product_views(script, raw, by_user)
    _coupon_views(script, raw, by_user, attributes)
    return tuple(script.steps)


def raw_columns(name: str) -> dict[str, tuple[str, str]]:
    """Returns the columns of a raw table in the queries: DuckDB expression and Ibis type.

    Instants are int64 microseconds; their names end in ``_us`` and not in ``_timestamp``.
    """
    columns = {}
    for column in TABLES[name].columns:
        if column.type == "timestamp":
            named = f"{column.name.removesuffix('_timestamp')}_us"
            columns[named] = (f"epoch_us({column.name})", "int64")
        else:
            kind = {"bool": "boolean"}.get(column.type, column.type)
            columns[column.name] = (column.name, kind)
    return columns


class _Script:
    """Collects the steps while the transforms are composed."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.tables: list[str] = []
        self.count = 0

    def stage(self, table: "ibis.Table") -> "ibis.Table":
        """Stores an intermediate result for several uses."""
        import ibis

        self.count += 1
        name = f"stage_{self.count}"
        self.steps.append(CreateTable(name, _compiled(table)))
        self.tables.append(name)
        return ibis.table(table.schema(), name=name)

    def view(self, name: str, build: "Build") -> None:
        """Writes a view, then drops the tables of this view alone to free memory."""
        before = len(self.tables)
        built = build()
        parts = built if isinstance(built, tuple) else (built,)
        self.steps.append(WriteView(name, *map(_compiled, parts)))
        self.drop(before)

    def views(self, builders: Mapping[str, "Build"]) -> None:
        """Writes views, one after the other."""
        for name, build in builders.items():
            self.view(name, build)

    def drop(self, before: int) -> None:
        """Drops all intermediate tables except the first ``before``."""
        if self.tables[before:]:
            self.steps.append(DropTables(tuple(self.tables[before:])))
        del self.tables[before:]


def _user_views(script: _Script, raw: Mapping[str, "ibis.Table"], attributes: "ibis.Table") -> None:
    from feature_repo.transforms.history import purchase_history, user

    stage = script.stage
    bought = stage(user.purchases(raw["events"]))
    script.views(
        {
            "user_purchase_stats": lambda: user.purchase_stats(bought, raw["users"], stage),
            "user_redemption_stats": lambda: user.redemption_stats(
                raw["redemptions"], raw["coupons"], raw["users"], stage
            ),
            "user_exposure_stats": lambda: user.exposure_stats(
                raw["exposures"], raw["users"], stage
            ),
            "user_demographics": lambda: user.demographics(raw["users"]),
        }
    )
    slices = stage(purchase_history.entry_slices(bought, attributes))
    script.views(
        {
            "user_purchase_history": lambda: purchase_history.history(slices, stage),
            "user_recent_purchases": lambda: purchase_history.recent(slices, stage),
        }
    )


def _product_views(script: _Script, raw: Mapping[str, "ibis.Table"], by_user: "ibis.Table") -> None:
    from feature_repo.transforms.history import product

    script.views(
        {
            "product_details": lambda: product.details(raw["products"]),
            "product_sales_stats": lambda: product.sales_stats(
                by_user, raw["products"], script.stage
            ),
        }
    )


def _coupon_views(
    script: _Script,
    raw: Mapping[str, "ibis.Table"],
    by_user: "ibis.Table",
    attributes: "ibis.Table",
) -> None:
    from feature_repo.transforms.history import coupon

    stage = script.stage
    covered = stage(coupon.pairs(raw["coupon_products"], attributes))
    script.views(
        {
            "coupon_details": lambda: coupon.details(raw["coupons"]),
            "coupon_scope": lambda: coupon.scope(covered, raw["coupons"], stage),
            "coupon_popularity_stats": lambda: coupon.popularity_stats(
                by_user, covered, raw["coupons"], stage
            ),
            "coupon_redemption_stats": lambda: coupon.redemption_stats(
                raw["redemptions"], raw["exposures"], raw["coupons"], stage
            ),
        }
    )
    _campaign_views(script, raw, covered)


def _campaign_views(
    script: _Script, raw: Mapping[str, "ibis.Table"], covered: "ibis.Table"
) -> None:
    from feature_repo.transforms.history import campaign, user

    stage, exposures = script.stage, raw["exposures"]
    plan = stage(campaign.plans(raw["coupons"]))
    bought = user.purchases(raw["events"])
    baskets = stage(campaign.covered_baskets(bought, covered, exposures, plan, stage))
    script.views(
        {
            "coupon_campaign_stats": lambda: campaign.coupon_stats(
                baskets, raw["redemptions"], exposures, plan, stage
            ),
            "user_campaign_stats": lambda: campaign.user_stats(baskets, raw["users"], plan, stage),
        }
    )


@cache
def assembling_query(name: str, wanted: str, entries: str) -> str:
    """Returns the query that assembles the rows named by the relation ``wanted``."""
    import ibis

    from feature_repo.transforms.history.purchase_history import assemble

    return _compiled(
        assemble(
            ibis.table(_WANTED_COLUMNS, name=wanted),
            ibis.table(_ENTRY_COLUMNS, name=entries),
            ASSEMBLED[name],
        )
    )


_WANTED_COLUMNS = {"user_id": "string", "at": "int64"}
_ENTRY_COLUMNS = {
    "user_id": "string",
    "kind": "string",
    "id": "string",
    "count": "int64",
    "weight": "float64",
    "uses": "int64",
    "spend": "int64",
    "last": "int64",
    "until": "int64",
    "first": "int64",
}


def _compiled(table: "ibis.Table") -> str:
    """Compiles an Ibis expression to DuckDB, with the column types that Ibis declares.

    For Ibis a sum of int64 is int64, so it adds no cast. For DuckDB it is a wider type.
    """
    import ibis

    columns = ", ".join(
        f'CAST("{name}" AS {_WHOLE[str(kind)]}) AS "{name}"' if str(kind) in _WHOLE else f'"{name}"'
        for name, kind in table.schema().items()
    )
    return f"SELECT {columns} FROM ({ibis.to_sql(table, dialect='duckdb')})"


_WHOLE = {"int64": "BIGINT", "array<int64>": "BIGINT[]"}
