"""The queries that publish every view, in an order in which they share intermediate results.

They follow from the transforms alone, whatever the lake holds, so a process compiles them once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from feature_repo.contract import TABLES

ASSEMBLED = {"user_purchase_history": "history", "user_recent_purchases": "recent"}
"""Views whose rows are put together from entries when they are read, and their fields' prefix."""


@dataclass(frozen=True)
class Keep:
    """A query whose result further queries read under a name."""

    name: str
    query: str


@dataclass(frozen=True)
class Forget:
    """Results that no further query reads."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """A view's change rows and, if its rows are assembled when they are read, their entries."""

    name: str
    rows: str
    entries: str | None = None


@cache
def view_queries() -> tuple[Keep | Forget | View, ...]:
    """What to run, one after the other, on the raw tables as ``raw_columns`` names them."""
    script = _Script()
    _write(script)
    return tuple(script.steps)


def raw_columns(name: str) -> dict[str, tuple[str, str]]:
    """The columns of a raw table in the queries: DuckDB expression and Ibis type.

    Instants are int64 microseconds; ``_us`` takes the place of ``_timestamp``.
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
    """Collects the steps while the transforms are put together."""

    def __init__(self):
        self.steps: list[Keep | Forget | View] = []
        self.kept: list[str] = []
        self.count = 0

    def stage(self, table):
        """Keep an intermediate result that is used more than once."""
        import ibis

        self.count += 1
        name = f"stage_{self.count}"
        self.steps.append(Keep(name, _compiled(table)))
        self.kept.append(name)
        return ibis.table(table.schema(), name=name)

    def view(self, name: str, build: Callable) -> None:
        """Write a view, and forget what was kept for it alone: memory for the next one."""
        before = len(self.kept)
        built = build()
        parts = built if isinstance(built, tuple) else (built,)
        self.steps.append(View(name, *map(_compiled, parts)))
        self.forget(before)

    def views(self, built: Mapping[str, Callable]) -> None:
        for name, build in built.items():
            self.view(name, build)

    def forget(self, before: int) -> None:
        """All intermediate results but the first ``before``."""
        if self.kept[before:]:
            self.steps.append(Forget(tuple(self.kept[before:])))
        del self.kept[before:]


def _write(script: _Script) -> None:
    import ibis

    from feature_repo.transforms.history import coupon, product, user, weeks

    stage = script.stage
    raw = {
        name: ibis.table({c: kind for c, (_, kind) in raw_columns(name).items()}, name=name)
        for name in TABLES
    }
    attributes = stage(product.attributes(raw["products"]))
    bought = stage(user.purchases(raw["events"]))
    script.views(
        {
            "user_purchase_stats": lambda: user.purchase_stats(bought, raw["users"], stage),
            "user_redemption_stats": lambda: user.redemption_stats(
                raw["redemptions"], raw["users"], stage
            ),
            "user_exposure_stats": lambda: user.exposure_stats(
                raw["exposures"], raw["users"], stage
            ),
            "user_demographics": lambda: user.demographics(raw["users"]),
        }
    )
    purchased = stage(weeks.purchased(bought, attributes))
    script.views(
        {
            "user_purchase_history": lambda: weeks.history(purchased, stage),
            "user_recent_purchases": lambda: weeks.recent(purchased, stage),
        }
    )
    script.forget(before=1)
    by_user = stage(product.daily(user.purchases(raw["events"]), ["product_id", "user_id"]))
    script.views(
        {
            "product_details": lambda: product.details(raw["products"]),
            "product_terms": lambda: product.terms(raw["product_terms"]),
            "product_sales_stats": lambda: product.sales_stats(by_user, raw["products"], stage),
        }
    )
    covered = stage(coupon.pairs(raw["coupon_products"], attributes))
    script.views(
        {
            "coupon_details": lambda: coupon.details(raw["coupons"]),
            "coupon_terms": lambda: coupon.terms(raw["coupon_terms"]),
            "coupon_scope": lambda: coupon.scope(covered, raw["coupons"], stage),
            "coupon_popularity_stats": lambda: coupon.popularity_stats(
                by_user, covered, raw["coupons"], stage
            ),
            "coupon_redemption_stats": lambda: coupon.redemption_stats(
                raw["redemptions"], raw["exposures"], raw["coupons"], stage
            ),
        }
    )


@cache
def assembling_query(name: str, wanted: str, entries: str) -> str:
    """Puts together the rows of an assembled view that the relation ``wanted`` names."""
    import ibis

    from feature_repo.transforms.history.weeks import assembled

    return _compiled(
        assembled(
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


def _compiled(table) -> str:
    """The DuckDB query of an Ibis expression, with the column types that Ibis declares.

    Ibis takes the sum of int64 to be int64 and leaves out such casts; DuckDB makes it wider.
    """
    import ibis

    columns = ", ".join(
        f'CAST("{name}" AS {_WHOLE[str(kind)]}) AS "{name}"' if str(kind) in _WHOLE else f'"{name}"'
        for name, kind in table.schema().items()
    )
    return f"SELECT {columns} FROM ({ibis.to_sql(table, dialect='duckdb')})"


_WHOLE = {"int64": "BIGINT", "array<int64>": "BIGINT[]"}
