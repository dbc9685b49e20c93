"""Writes the example shop: made up, but the same at every run."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
FIRST, LAST = date(2025, 3, 1), date(2025, 6, 30)
KNOWN_FROM = "2025-02-01"
DEPARTMENTS = {
    "Bakery": ("Bread", "Cake"),
    "Dairy": ("Milk", "Cheese", "Yogurt"),
    "Produce": ("Apples", "Tomatoes", "Salad"),
    "Pantry": ("Pasta", "Coffee"),
}
BRANDS = ("Maison Claire", "Val Doux", "Own Brand")


@dataclass(frozen=True)
class Campaign:
    name: str
    audience: str
    starts: date
    ends: date


@dataclass(frozen=True)
class Coupon:
    coupon_id: str
    campaign: Campaign
    discount_type: str
    discount_value: Decimal
    min_spend: Decimal | None
    per_user_limit: int | None
    products: tuple[int, ...]


CAMPAIGNS = (
    Campaign("spring", "targeted", date(2025, 3, 17), date(2025, 4, 14)),
    Campaign("garden", "targeted", date(2025, 5, 12), date(2025, 7, 7)),
    Campaign("summer", "open", date(2025, 6, 9), date(2025, 7, 14)),
)
# Type, value, least spend, limit for each user; every campaign has four of them.
DISCOUNTS = (
    ("percent", Decimal("20"), None, 2),
    ("amount_off", Decimal("1.50"), None, 1),
    ("amount_off_over_threshold", Decimal("2.00"), Decimal("10.00"), 1),
    ("gift", Decimal("0.80"), None, 1),
    ("cashback", Decimal("0.50"), None, None),
)


def products() -> list[dict]:
    categories = [(d, c) for d, names in DEPARTMENTS.items() for c in names]
    rows = []
    for number in range(60):
        department, category = categories[number % len(categories)]
        brand = BRANDS[number // len(categories) % len(BRANDS)]
        rows.append(
            {
                "product_id": 1000 + number,
                "event_timestamp": datetime(2025, 2, 1),
                "name": f"{category} {number // len(categories) + 1}, {brand}",
                "department": department,
                "category": category,
                "brand": brand,
                "is_private_label": brand == "Own Brand",
                "price": Decimal(90 + 37 * number % 600) / 100,
            }
        )
    return rows


def users(random: Random) -> Iterator[dict]:
    for number in range(1, 41):
        known = number % 4 != 0
        yield {
            "user_id": f"card-{number:03d}",
            "event_timestamp": KNOWN_FROM,
            "age_min": random.choice((18, 25, 35, 45, 55, 65)) if known else None,
            "income_min": random.choice((15000, 25000, 40000, 60000)) if known else None,
            "household_size": random.randint(1, 5) if known else None,
        }


def coupons(random: Random) -> Iterator[Coupon]:
    for number in range(12):
        kind, value, least, limit = DISCOUNTS[number % len(DISCOUNTS)]
        covered = tuple(sorted(random.sample(range(1000, 1060), 6)))
        campaign = CAMPAIGNS[number // 4]
        yield Coupon(f"{campaign.name}-{number + 1}", campaign, kind, value, least, limit, covered)


def exposures(random: Random, ids: list[str]) -> Iterator[dict]:
    for campaign in CAMPAIGNS:
        if campaign.audience == "targeted":
            for user in sorted(random.sample(ids, 25)):
                yield {
                    "exposure_id": f"{campaign.name}-{user}",
                    "event_timestamp": f"{campaign.starts}T07:00:00Z",
                    "user_id": user,
                    "campaign_id": campaign.name,
                }


class Shop:
    """Goes through the days and notes what users do and which coupons they use."""

    def __init__(self, random: Random, offered: dict[str, list[Coupon]], prices: dict):
        self.random, self.offered, self.prices = random, offered, prices
        self.visits: list[dict] = []
        self.redemptions: list[dict] = []
        self.baskets = 0

    def run(self) -> None:
        favorites = {u: self.random.sample(sorted(self.prices), 8) for u in sorted(self.offered)}
        for day in range((LAST - FIRST).days + 1):
            for user, liked in favorites.items():
                if self.random.random() < 0.18:
                    self.visit(user, liked, FIRST + timedelta(days=day))

    def visit(self, user: str, liked: list[int], day: date) -> None:
        at = datetime.combine(day, time(9)) + timedelta(seconds=self.random.randrange(36_000))
        self.baskets += 1
        if self.random.random() < 0.2:
            self.note(user, at - timedelta(minutes=3), "search", None)
        for product in sorted(self.wanted(user, liked, day)):
            self.note(user, at - timedelta(minutes=2), "view", product)
            if self.random.random() < 0.75:
                self.note(user, at - timedelta(minutes=1), "cart", product)
                self.buy(user, at, product)
            elif self.random.random() < 0.2:
                self.note(user, at - timedelta(minutes=1), "favorite", product)

    def wanted(self, user: str, liked: list[int], day: date) -> set[int]:
        """Mostly what the user likes, at times what a coupon covers."""
        found = set(self.random.sample(liked, self.random.randint(1, 3)))
        for coupon in self.usable(user, day):
            if self.random.random() < 0.06:
                found.add(self.random.choice(coupon.products))
        return found

    def usable(self, user: str, day: date) -> list[Coupon]:
        used = [one["coupon_id"] for one in self.redemptions if one["user_id"] == user]
        return [
            coupon
            for coupon in self.offered[user]
            if coupon.campaign.starts <= day < coupon.campaign.ends
            and used.count(coupon.coupon_id) < (coupon.per_user_limit or 99)
        ]

    def buy(self, user: str, at: datetime, product: int) -> None:
        quantity = self.random.choice((1, 1, 1, 2, 3))
        price = self.prices[product] * quantity
        off = Decimal("0.00")
        for coupon in self.usable(user, at.date()):
            enough = price >= (coupon.min_spend or 0) and price > 2
            if product in coupon.products and enough and self.random.random() < 0.6:
                off = discount(coupon, price)
                self.redeem(user, at, coupon, off)
                break
        money = {"amount": price - off, "coupon_discount": off, "retail_discount": Decimal("0.00")}
        self.note(user, at, "purchase", product, quantity=quantity, **money)

    def redeem(self, user: str, at: datetime, coupon: Coupon, off: Decimal) -> None:
        self.redemptions.append(
            {
                "redemption_id": f"r{len(self.redemptions) + 1:04d}",
                "event_timestamp": at.isoformat(sep=" "),
                "created_timestamp": (at.date() + timedelta(days=1)).isoformat(),
                "user_id": user,
                "coupon_id": coupon.coupon_id,
                "basket_id": f"b{self.baskets:05d}",
                "discount_amount": off or None,
            }
        )

    def note(self, user: str, at: datetime, kind: str, product: int | None, **bought) -> None:
        self.visits.append(
            {
                "visit_no": len(self.visits) + 1,
                "seen_at": at,
                "card_no": user,
                "event_type": kind,
                "product_id": product,
                "basket_id": f"b{self.baskets:05d}",
                **{"quantity": None, "amount": None} | bought,
            }
        )


def discount(coupon: Coupon, price: Decimal) -> Decimal:
    """What a coupon takes off at the till; a gift or cashback takes nothing off there."""
    if coupon.discount_type == "percent":
        return (price * coupon.discount_value / 100).quantize(Decimal("0.01"))
    if coupon.discount_type in ("gift", "cashback"):
        return Decimal("0.00")
    return coupon.discount_value


def coupon_row(coupon: Coupon) -> dict:
    return {
        "coupon_id": coupon.coupon_id,
        "event_timestamp": coupon.campaign.starts - timedelta(days=7),
        "coupon_code": coupon.coupon_id.replace("-", "").upper(),
        "campaign_id": coupon.campaign.name,
        "audience": coupon.campaign.audience,
        "discount_type": coupon.discount_type,
        "discount_value": coupon.discount_value,
        "min_spend": coupon.min_spend,
        "valid_from": coupon.campaign.starts,
        "valid_to": coupon.campaign.ends,
        "per_user_limit": coupon.per_user_limit,
    }


def scope(coupon: Coupon) -> Iterator[dict]:
    announced = coupon.campaign.starts - timedelta(days=7)
    for product in coupon.products:
        yield {
            "coupon_id": coupon.coupon_id,
            "product_id": product,
            "event_timestamp": announced,
        }


# What the retailer states of a few coupons: limits of summer, and where garden-8 may be shown.
TERMS = {
    "summer-11": {"total_limit": 200, "max_discount": Decimal("3.00"), "min_margin": 5},
    "summer-12": {"campaign_budget": Decimal("500.00"), "user_budget": Decimal("20.00")},
    "summer-9": {"gift_product_id": 1040},
    "garden-7": {"period_limit": 1, "period_days": 30},
    "garden-8": {"placements": "home cart checkout member campaign", "exclusivity_group": "milk"},
}


def coupon_terms(issued: list[Coupon]) -> list[dict]:
    columns = dict.fromkeys(name for stated in TERMS.values() for name in stated)
    starts = {coupon.coupon_id: coupon.campaign.starts for coupon in issued}
    return [
        {"coupon_id": one, "event_timestamp": starts[one] - timedelta(days=7)} | columns | stated
        for one, stated in TERMS.items()
    ]


def product_terms(prices: dict[int, Decimal]) -> list[dict]:
    return [
        {
            "product_id": product,
            "event_timestamp": LAST - timedelta(days=1),
            "stock": 7 * product % 50,
            "unit_cost": (price * 6 / 10).quantize(Decimal("0.01")),
        }
        for product, price in prices.items()
    ]


def write_csv(folder: Path, name: str, rows: list[dict]) -> None:
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make(folder: Path) -> None:
    """Write the data files of the example shop into a folder."""
    random = Random(2025)
    shelf, people, issued = products(), list(users(random)), list(coupons(random))
    shown = list(exposures(random, [person["user_id"] for person in people]))
    reached = {(one["user_id"], one["campaign_id"]) for one in shown}
    offered = {
        person["user_id"]: [
            coupon
            for coupon in issued
            if coupon.campaign.audience == "open"
            or (person["user_id"], coupon.campaign.name) in reached
        ]
        for person in people
    }
    prices = {one["product_id"]: one.pop("price") for one in shelf}
    shop = Shop(random, offered, prices)
    shop.run()
    pq.write_table(pa.Table.from_pylist(shelf), folder / "products.parquet")
    visits = [{"retail_discount": None, "coupon_discount": None} | one for one in shop.visits]
    pq.write_table(pa.Table.from_pylist(visits), folder / "visits.parquet")
    write_csv(folder, "users", people)
    write_csv(folder, "coupons", [coupon_row(coupon) for coupon in issued])
    write_csv(folder, "coupon_products", [row for coupon in issued for row in scope(coupon)])
    write_csv(folder, "coupon_terms", coupon_terms(issued))
    write_csv(folder, "product_terms", product_terms(prices))
    write_csv(folder, "exposures", shown)
    write_csv(folder, "redemptions", shop.redemptions)


if __name__ == "__main__":
    make(HERE)
