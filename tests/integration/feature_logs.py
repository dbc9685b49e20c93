"""Small event logs for the feature tests: how they are made up, landed and opened with Feast."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import strategies as st

from feature_repo.contract import TABLES, arrow_schema

DAY = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = (datetime(2024, 2, 27, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
"""Two days before a leap day, at midnight."""

DAYS = (0, 1, 2, 3, 6, 7, 8, 9, 29, 30, 31, 37, 89, 90, 91, 97, 98)
MOMENTS = (0, 1, DAY // 4, DAY // 2, DAY - 1)
DELAYS = (0, 0, 0, 1, DAY // 4, DAY, 8 * DAY, 31 * DAY)
WATERMARK = START + 200 * DAY

USERS = ("u1", "u2", "u3")
PRODUCTS = ("p1", "p2", "p3", "p4")
COUPONS = ("A:x", "B:x", "A:y", "C:z")


def moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def microseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


instants = st.builds(
    lambda day, part: START + day * DAY + part, st.sampled_from(DAYS), st.sampled_from(MOMENTS)
)
cents = st.sampled_from((None, 0, 1, 250, 99_999))


@st.composite
def stamped(draw, columns, versions: int):
    """Versions of one row, each learned later than the one before and otherwise drawn anew."""
    rows, learned = [], 0
    for _ in range(draw(st.integers(1, versions))):
        row = draw(columns)
        row["event_timestamp"] = draw(instants)
        earliest = row["event_timestamp"] + draw(st.sampled_from(DELAYS))
        learned = max(earliest, learned + 1)
        rows.append(row | {"created_timestamp": learned})
    return rows


def table(key: dict, columns: dict, versions: int = 2):
    fixed = {name: st.just(value) for name, value in key.items()}
    return stamped(st.fixed_dictionaries(fixed | columns), versions)


def _user(name: str):
    number = st.sampled_from((None, 0, 3))
    flag = st.sampled_from((None, True, False))
    numbers = ("age_min", "income_min", "household_size", "kids_count")
    flags = ("is_homeowner", "is_married")
    return table({"user_id": name}, dict.fromkeys(numbers, number) | dict.fromkeys(flags, flag))


def _product(name: str):
    return table(
        {"product_id": name, "name": None},
        {
            "department": st.sampled_from((None, "D1", "D2")),
            "category": st.sampled_from((None, "Käse", "Milk")),
            "brand": st.sampled_from((None, "b1", "b2")),
            "is_private_label": st.sampled_from((None, True, False)),
        },
    )


def _coupon(name: str):
    campaign, code = name.split(":")
    return table(
        {"coupon_id": name, "coupon_code": code, "campaign_id": campaign, "audience": "open"},
        {
            "campaign_type": st.sampled_from((None, "Type A")),
            "discount_type": st.sampled_from((None, "percent")),
            "discount_value": st.sampled_from((None, 10)),
            "min_spend": cents,
            "valid_from": instants,
            "valid_to": instants,
            "per_user_limit": st.sampled_from((None, 1)),
        },
    )


def _event(number: int):
    return table(
        {"event_id": f"e{number}"},
        {
            "user_id": st.sampled_from(USERS),
            "event_type": st.sampled_from(("purchase",) * 6 + ("view",)),
            "product_id": st.sampled_from((*PRODUCTS * 3, None)),
            "basket_id": st.sampled_from((None, "b1", "b2", "b3")),
            "quantity": st.sampled_from((None, 0, 1, 3)),
            "amount": cents,
            "retail_discount": cents,
            "coupon_discount": cents,
            "coupon_match_discount": cents,
        },
        versions=3,
    )


def _redemption(number: int):
    return table(
        {"redemption_id": f"r{number}", "basket_id": None},
        {
            "user_id": st.sampled_from(USERS),
            "coupon_id": st.sampled_from(COUPONS),
            "discount_amount": cents,
        },
    )


def _exposure(number: int):
    return table(
        {"exposure_id": f"x{number}"},
        {"user_id": st.sampled_from(USERS), "campaign_id": st.sampled_from(("A", "B", "C"))},
    )


def _scope():
    every = [(coupon, product) for coupon in COUPONS for product in PRODUCTS]
    chosen = st.lists(st.sampled_from(every), unique=True, min_size=3)
    return chosen.flatmap(
        lambda pairs: st.tuples(*(table({"coupon_id": c, "product_id": p}, {}) for c, p in pairs))
    )


def _flat(parts):
    return st.tuples(*parts).map(lambda groups: [row for group in groups for row in group])


def _some(make, least: int, most: int):
    return st.integers(least, most).flatmap(lambda n: _flat([make(i) for i in range(n)]))


def logs(events: int = 40):
    """A log of every table: ties, late rows, corrections of anything, borders of every window."""
    return st.fixed_dictionaries(
        {
            "users": _flat([_user(name) for name in USERS]),
            "products": _flat([_product(name) for name in PRODUCTS]),
            "coupons": _flat([_coupon(name) for name in COUPONS]),
            "coupon_products": _scope().map(lambda groups: [r for g in groups for r in g]),
            "exposures": _some(_exposure, 0, 6),
            "events": _some(_event, 5, events),
            "redemptions": _some(_redemption, 0, 12),
        }
    )


def arrow(name: str, rows: list[dict]):
    import pyarrow as pa

    columns = {
        column.name: [_value(column, row.get(column.name)) for row in rows]
        for column in TABLES[name].columns
    }
    return pa.table(columns, schema=arrow_schema(TABLES[name]))


def _value(column, value):
    return moment(value) if column.type == "timestamp" and value is not None else value


def land(home: Path, log: dict[str, list[dict]], watermark: int = WATERMARK):
    """Land a log in the lake below ``home``, after what is there; gives the state."""
    import pyarrow as pa

    from feature_repo import landing
    from feature_repo.lake import Lake

    lake = Lake(home)
    names = ("quarantine_id", "table", "row_id", "rule", "reason", "payload")
    nothing = pa.table({name: pa.array([], pa.string()) for name in names})
    with landing.writing(lake):
        state = landing.current(lake)
        new = {
            name: landing.sort_rows(lake, state, name, arrow(name, rows)).new
            for name, rows in log.items()
        }
        return landing.commit(
            lake,
            state,
            new,
            nothing,
            set(),
            source="test",
            watermark=moment(watermark),
            learned={},
        )


OURS = "feature_repo.online_store.GuardedSqliteOnlineStore"


def feast_store(home: Path, online: str | dict = OURS, **offline):
    """A Feast store over ``home`` with our views applied, offline and online.

    ``online`` is a store's settings, or the type of an SQLite one.
    """
    from feast import FeatureStore, RepoConfig

    from feature_repo import definitions

    config = RepoConfig(
        project="clipwise",
        provider="local",
        registry={
            "registry_store_type": "feature_repo.registry.HomeRegistryStore",
            "path": f"{home}/registry.db",
        },
        offline_store={
            "type": "feature_repo.point_in_time.PointInTimeOfflineStore",
            "home": str(home),
        }
        | offline,
        online_store=online
        if isinstance(online, dict)
        else {"type": online, "path": f"{home}/online.db"},
        entity_key_serialization_version=3,
        materialization={"pull_latest_features": True},
        repo_path=str(home),
    )
    store = FeatureStore(config=config)
    store.apply([getattr(definitions, name) for name in definitions.__all__])
    return store
