"""What is unknown closes: no row that is out of force makes any cart cheaper or adds a coupon.

Each generated shop is ingested once as it is, and once for each of its rows and each way in which
the row can be out of force: refused, waiting for a parent, not yet in force, or in a later batch.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random

import numpy as np
import pytest

from feature_repo.contract import DISCOUNT_TYPES, MIN_SPEND_BASES, TABLES
from feature_repo.instants import microseconds
from feature_repo.lake.duckdb_files import parquet, query
from feature_repo.lake.reader import Lake
from feature_repo.publication.plans import read_plans
from feature_repo.publication.publish import published
from feature_repo.sources import Batch
from feature_repo.transforms.request.cart import CartLine
from serving.candidates.cart import cart_of
from serving.candidates.discounts import coverage, discount_amounts
from serving.candidates.index import CandidateIndex
from serving.events.redemption_feed import RedemptionFeed
from serving.lake_queries import redemptions
from serving.ledger.sqlite_ledger import SqliteLedger
from serving.planned_index import planned_index
from serving.rules.context import RuleContext
from serving.rules.filter import filter_candidates
from tests.support.serving_fakes import coupon as stored_coupon
from tests.support.validation_batches import arrow, rejected
from validation.ingestion import ingest_batch

SHOPS = 24
START = datetime(2025, 1, 1, tzinfo=UTC)
WATERMARK = START + timedelta(days=60)
NOW = microseconds(WATERMARK)
USERS, PRODUCTS, COUPONS = ("u0", "u1"), ("p0", "p1", "p2", "p3"), ("c0", "c1", "c2")
PLANS = ("users", "products", "coupons", "coupon_products", "coupon_terms", "product_terms")
IDS = {
    name
    for table in TABLES.values()
    for name in (*table.key, *(parent.column for parent in table.parents), "campaign_id")
}

Rows = dict[str, list[dict]]


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def shop(rng: Random) -> Rows:
    """Generates a small shop; coupons and terms can have a second version."""

    def some(*values):
        return rng.choice(values)

    def row(number: int, **content) -> dict:
        return content | {"event_timestamp": day(number), "created_timestamp": day(number)}

    def versions(content) -> list[dict]:
        return [row(number, **content()) for number in (10, 20)[: some(1, 1, 2)]]

    found: Rows = {name: [] for name in TABLES}
    found["users"] = [row(1, user_id=one) for one in USERS]
    found["products"] = [row(1, product_id=one) for one in PRODUCTS]
    for one in COUPONS:
        pairs = rng.sample(PRODUCTS, some(0, 1, 1, 2, 3))
        terms = some((), versions(lambda one=one: _terms(some, one)))
        campaign = some("k0", "k1")

        def details(one=one, pairs=pairs, terms=terms, campaign=campaign):
            kind = some(*DISCOUNT_TYPES)
            return {
                "coupon_id": one,
                "coupon_code": one,
                "campaign_id": campaign,
                "audience": some("open", "open", "targeted"),
                "discount_type": kind,
                "discount_value": some(5, 50, 100),
                "min_spend": some(100, 900) if "threshold" in kind else some(None, 300),
                "valid_from": day(some(20, 30)),
                "valid_to": day(some(50, 90, 90)),
                "per_user_limit": some(None, 0, 1, 2),
                "covers_whole_cart": True if not pairs else some(None, None, True),
                "has_terms": True if terms else None,
            }

        found["coupons"] += versions(details)
        found["coupon_terms"] += terms
        found["coupon_products"] += [row(10, coupon_id=one, product_id=p) for p in pairs]
    for one in PRODUCTS:
        costs = some((), versions(lambda one=one: _costs(some, one)))
        found["product_terms"] += costs
    for number, user in enumerate(USERS):
        found["exposures"] += [
            row(25, exposure_id=f"{user}:{k}", user_id=user, campaign_id=k)
            for k in sorted({one["campaign_id"] for one in found["coupons"]})
            if some(True, False)
        ]
        found["redemptions"] += [
            row(
                31 + number,
                redemption_id=f"{user}:{one}",
                user_id=user,
                coupon_id=one,
                discount_amount=some(None, 10, 60),
            )
            for one in COUPONS
            if some(True, False)
        ]
        bought = {"event_type": "purchase", "product_id": some(*PRODUCTS), "quantity": 1}
        found["events"].append(row(40, event_id=user, user_id=user, amount=100, **bought))
    return found


def _terms(some, coupon_id: str) -> dict:
    periods = {"period_limit": some(None, 0, 1, 2), "impression_limit": some(None, 0, 1)}
    return {
        "coupon_id": coupon_id,
        "placements": some(None, None, "home", "home checkout"),
        "total_limit": some(None, None, 0, 1, 2, 3),
        "campaign_budget": some(None, None, 0, 40, 100, 200),
        "user_budget": some(None, None, 0, 40, 100),
        "max_discount": some(None, None, 0, 20),
        "min_margin": some(None, None, 10, 60),
        "gift_product_id": some(None, None, *PRODUCTS),
        "min_spend_basis": some(None, *MIN_SPEND_BASES),
        "period_days": None if periods["period_limit"] is None else 40,
        "impression_days": None if periods["impression_limit"] is None else 7,
    } | periods


def _costs(some, product_id: str) -> dict:
    return {"product_id": product_id, "stock": some(None, 0, 5), "unit_cost": some(None, 10, 90)}


@dataclass(frozen=True)
class Variant:
    """A shop with one row out of force; ``label`` names the row and the way."""

    label: str
    rows: Rows
    refused: tuple[tuple[str, dict], ...] = ()


def variants(rows: Rows) -> Iterator[Variant]:
    for name, of_table in rows.items():
        for place, row in enumerate(of_table):
            rest = rows | {name: [*of_table[:place], *of_table[place + 1 :]]}
            label = f"{name} {place}"
            for column in ("event_timestamp", _number_of(name)):
                if column is not None:
                    yield Variant(
                        f"{label} refused by {column}", rest, ((name, row | {column: "?"}),)
                    )
            if waiting := _waiting(name, row):
                yield Variant(f"{label} waiting", rest | {name: [*rest[name], row | waiting]})
            if name in PLANS and not _corrects(rows, name, row):
                late = row | {"event_timestamp": WATERMARK + timedelta(days=1)}
                yield Variant(f"{label} not yet", rest | {name: [*rest[name], late]})
            if _can_be_missed(rows, name, row):
                yield Variant(f"{label} later batch", rest)


def _number_of(name: str) -> str | None:
    columns = TABLES[name].columns
    return next((c.name for c in columns if c.type == "int64"), None)


def _waiting(name: str, row: dict) -> dict:
    """A parent that is not in the lake. A use by another user is a use by that user."""
    parents = {
        "coupon_products": {"product_id": "p9"},
        "coupon_terms": {"gift_product_id": "p9"},
        "exposures": {"user_id": "u9"},
        "events": {"product_id": "p9"},
    }
    return parents.get(name, {})


def _corrects(rows: Rows, name: str, row: dict) -> bool:
    """True if an earlier version of the row is in force until this one takes effect."""
    key = TABLES[name].key
    return any(
        all(one[column] == row[column] for column in key)
        and one["created_timestamp"] < row["created_timestamp"]
        for one in rows[name]
    )


def _can_be_missed(rows: Rows, name: str, row: dict) -> bool:
    """True if another row of the shop tells that this one is to come.

    Nothing tells of a correction, of a use, of a stock of 0, of a budget that one coupon states for
    its campaign, and of the campaign whose budget a redemption of an unknown coupon took. A margin
    is that of the products known to be covered. A coupon that states the whole cart covers it until
    another row says otherwise.
    """
    (key, *_) = TABLES[name].key
    of_coupon = [one for one in rows["coupon_terms"] if one["coupon_id"] == row.get("coupon_id")]
    if name == "redemptions" or row.get("stock") == 0:
        return False
    if name == "coupon_products":
        plans = [one for one in rows["coupons"] if one["coupon_id"] == row["coupon_id"]]
        whole = any(one["covers_whole_cart"] for one in plans)
        return not whole and all(one["min_margin"] is None for one in of_coupon)
    if name in ("coupons", "coupon_terms", "product_terms"):
        versions = [one for one in rows[name] if one[key] == row[key]]
        terms = rows["coupon_terms"] if name == "coupons" else of_coupon
        budgets = (one[b] for one in terms for b in ("campaign_budget", "user_budget"))
        return len(versions) == 1 and all(one is None for one in budgets)
    return True


def named(row: dict, shop_name: str) -> dict:
    """Puts the ids of a row in the name space of one shop, so that all shops share a lake."""
    return {
        name: f"{shop_name}/{value}" if name in IDS and isinstance(value, str) else value
        for name, value in row.items()
    }


def payload(name: str, row: dict) -> str:
    texts = {
        column: f"{value:%Y-%m-%dT%H:%M:%S.%fZ}" if isinstance(value, datetime) else value
        for column, value in row.items()
    }
    return json.dumps(dict.fromkeys(TABLES[name].column_names) | texts)


@pytest.fixture(scope="module")
def shops() -> dict[str, Variant]:
    """All shops by name: the shop "3" as it is, and its variants "3-0", "3-1" and so on."""
    found = {}
    for number in range(SHOPS):
        rows = shop(Random(number))
        found[str(number)] = Variant("as it is", rows)
        found |= {f"{number}-{place}": one for place, one in enumerate(variants(rows))}
    return found


@pytest.fixture(scope="module")
def lake(shops, tmp_path_factory) -> Lake:
    tables, refused = {name: [] for name in TABLES}, {name: [] for name in TABLES}
    for shop_name, variant in shops.items():
        for name, rows in variant.rows.items():
            full = dict.fromkeys(TABLES[name].column_names)
            tables[name] += [full | named(row, shop_name) for row in rows]
        for name, row in variant.refused:
            refused[name].append(payload(name, named(row, shop_name)))
    batch = Batch(
        "test",
        {name: arrow(name, rows) for name, rows in tables.items()},
        WATERMARK,
        rejected={
            name: rejected(
                *((10**6 + n, "type", "a fault", text) for n, text in enumerate(refused[name]))
            )
            for name in TABLES
        },
    )
    lake = Lake(tmp_path_factory.mktemp("home"))
    ingest_batch(lake, batch, WATERMARK, maximum_share=1.0)
    return lake


def user_features(lake: Lake) -> dict[str, dict]:
    """The campaigns and redemptions of each user, as the online store has them at the watermark."""
    folder, found = published(lake, lake.state()), {}
    for view in ("user_exposure_stats", "user_redemption_stats"):
        rows = query(
            f"SELECT DISTINCT ON (user_id) * FROM {parquet([str(folder / f'{view}.parquet')])} "
            f"WHERE event_timestamp < '{WATERMARK.isoformat()}' "
            "ORDER BY user_id, event_timestamp DESC"
        )
        for row in rows.to_pylist():
            found.setdefault(row["user_id"], {}).update(row)
    return found


class Service:
    """The rules and the quotes of a lake's shops."""

    def __init__(self, lake: Lake, folder) -> None:
        plans = read_plans(lake, lake.state())
        columns = stored_coupon("any", "any")
        stored = {name: [None] * len(plans.coupon_ids) for name in columns}
        build = planned_index(plans, stored | {"coupon_id": plans.coupon_ids}, None)
        self.index: CandidateIndex = build(NOW)
        self.ledger = SqliteLedger(folder / "ledger.db", 900, lambda: NOW)
        feed = RedemptionFeed(
            self.ledger,
            lambda: self.index,
            lambda: 1,
            lambda coupons, ids: redemptions(lake, coupons, ids),
            lambda: [],
        )
        feed.refresh()
        self.users = user_features(lake)
        self.rows: dict[str, list[int]] = {}
        for row, one in enumerate(self.index.coupon_id):
            self.rows.setdefault(one.split("/")[0], []).append(row)

    def offers(self, shop_name: str, user: str, place: str, cart) -> dict[str, int]:
        """What each coupon that is shown takes off a cart, by coupon."""
        features = self.users.get(f"{shop_name}/{user}", {})
        reachable = self.index.candidates(features.get("campaign_ids"))
        rows = np.intersect1d(reachable, self.rows.get(shop_name, []))
        lines = [CartLine(f"{shop_name}/{product}", *line) for product, *line in cart]
        used = zip(
            features.get("redeemed_coupon_ids") or (),
            features.get("redeemed_coupon_counts") or (),
            strict=True,
        )
        cover = coverage(self.index.terms.discounts, cart_of(lines))
        context = RuleContext(
            self.index, NOW, dict(used), cover, f"{shop_name}/{user}", place, until=NOW
        )
        kept, _ = filter_candidates(context, rows.astype(np.int64), self.ledger)
        names = (one.split("/")[1] for one in self.index.coupon_id[kept])
        return dict(zip(names, discount_amounts(cover, kept).tolist(), strict=True))


CARTS = (
    (("p0", 1, 100), ("p1", 2, 150), ("p2", 1, 40), ("p3", 1, 300)),
    (("p0", 3, 100), ("p3", 1, 80)),
    (("p1", 1, 500), ("p2", 2, 200)),
)


def test_row_out_of_force_makes_no_cart_cheaper_and_adds_no_coupon(shops, lake, tmp_path):
    service, offered, fewer = Service(lake, tmp_path), 0, 0
    as_it_is = cache(service.offers)
    for shop_name, variant in shops.items():
        base = shop_name.split("-")[0]
        for user in USERS:
            for place, cart in (*(("checkout", one) for one in CARTS), ("home", CARTS[0])):
                whole = as_it_is(base, user, place, cart)
                found = service.offers(shop_name, user, place, cart)
                more = {one: off for one, off in found.items() if off > whole.get(one, -1)}
                assert not more, (shop_name, variant.label, user, place, cart, whole, found)
                offered, fewer = offered + bool(whole), fewer + (found != whole)
    # Most shops offer something, and many rows matter.
    assert offered > 2_000 and fewer > 300
