"""Small event logs for the feature tests: rows in contract columns with int microseconds."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from feature_repo.instants import DAY, microseconds

START = microseconds(datetime(2024, 2, 27, tzinfo=UTC))
"""Two days before a leap day, at midnight."""

DAYS = (0, 1, 2, 3, 6, 7, 8, 9, 29, 30, 31, 37, 89, 90, 91, 97, 98)
MOMENTS = (0, 1, DAY // 4, DAY // 2, DAY - 1)
DELAYS = (0, 0, 0, 1, DAY // 4, DAY, 8 * DAY, 31 * DAY, 91 * DAY, -1, -20 * DAY, -45 * DAY)
"""From the event until it is learned: late, at once or in advance."""

WATERMARK = START + 200 * DAY

USERS = ("u1", "u2", "u3")
PRODUCTS = ("p1", "p2", "p3", "p4")
COUPONS = ("A:x", "B:x", "A:y", "C:z")

Log = dict[str, list[dict]]


instants = st.builds(
    lambda day, part: START + day * DAY + part, st.sampled_from(DAYS), st.sampled_from(MOMENTS)
)
cents = st.sampled_from((None, 0, 1, 250, 99_999))
paid = st.sampled_from((0, 1, 250, 99_999))

REFUNDED = ("quantity", "amount", "retail_discount", "coupon_discount", "coupon_match_discount")
"""The columns that a refund corrects to 0."""


@st.composite
def versions(draw, columns, most: int = 3):
    """Draws versions of one row, each learned later than the one before it."""
    rows: list[dict] = []
    for _ in range(draw(st.integers(1, most))):
        row = _corrected(draw, rows, columns) if rows else draw(columns)
        row.setdefault("event_timestamp", draw(instants))
        after = rows[-1]["created_timestamp"] + 1 if rows else 0
        learned = max(row["event_timestamp"] + draw(st.sampled_from(DELAYS)), after)
        rows.append(row | {"created_timestamp": learned})
    return rows


def _corrected(draw, rows: list[dict], columns) -> dict:
    """Draws the next version of a row: other, partly other, or equal content."""
    kinds = ("content", "content", "instant", "refund", "first version", "repetition")
    kind = draw(st.sampled_from(kinds))
    last = dict(rows[0] if kind == "first version" else rows[-1])
    if kind == "content":
        return draw(columns)
    if kind == "instant":
        return last | {"event_timestamp": draw(instants)}
    return last | dict.fromkeys(last.keys() & REFUNDED, 0) if kind == "refund" else last


def table(key: dict, columns: dict, most: int = 3):
    fixed = {name: st.just(value) for name, value in key.items()}
    return versions(st.fixed_dictionaries(fixed | columns), most)


def _user(name: str):
    flag = st.sampled_from((None, True, False))
    columns = {
        "age_min": st.sampled_from((None, 0, 35)),
        "income_min": cents,
        "household_size": st.sampled_from((None, 1, 3)),
        "kids_count": st.sampled_from((None, 0, 3)),
        "is_homeowner": flag,
        "is_married": flag,
    }
    return table({"user_id": name}, columns)


def _product(name: str):
    columns = {
        "department": st.sampled_from((None, "D1", "D2")),
        "category": st.sampled_from((None, "Käse", "Milk")),
        "brand": st.sampled_from((None, "b1", "b2")),
        "is_private_label": st.sampled_from((None, True, False)),
    }
    return table({"product_id": name, "name": None}, columns)


def _coupon(name: str):
    campaign, code = name.split(":")
    columns = {
        "coupon_code": st.sampled_from((code, code, code, "z")),
        "campaign_id": st.sampled_from((campaign, campaign, campaign, "C")),
        "audience": st.sampled_from(("open", "targeted")),
        "campaign_type": st.sampled_from((None, "Type A")),
        "discount_type": st.sampled_from((None, "percent")),
        "discount_value": st.sampled_from((None, 10)),
        "min_spend": cents,
        "valid_from": instants,
        "valid_to": instants,
        "per_user_limit": st.sampled_from((None, 1)),
        "covers_whole_cart": st.sampled_from((None, True)),
        "has_terms": st.sampled_from((None, True)),
    }
    return table({"coupon_id": name}, columns).map(_end_after_start)


def _end_after_start(rows: list[dict]) -> list[dict]:
    """Moves the end of a coupon after its start and its announcement."""
    starts = [max(row["valid_from"], row["event_timestamp"]) for row in rows]
    ends = [max(row["valid_to"], start + 1) for row, start in zip(rows, starts, strict=True)]
    return [row | {"valid_to": end} for row, end in zip(rows, ends, strict=True)]


_SAVED = dict.fromkeys(("retail_discount", "coupon_discount", "coupon_match_discount"), cents)
_PURCHASE = {
    "event_type": st.just("purchase"),
    "user_id": st.sampled_from(USERS),
    "product_id": st.sampled_from(PRODUCTS),
    "basket_id": st.sampled_from((None, "b1", "b2", "e1")),
    "quantity": st.sampled_from((0, 1, 3)),
    "amount": paid,
    **_SAVED,
}
_VISIT = _PURCHASE | {
    "event_type": st.sampled_from(("view", "search", "cart")),
    "product_id": st.sampled_from((*PRODUCTS, None)),
    "quantity": st.sampled_from((None, 1)),
    "amount": cents,
}


def _event(number: int):
    kinds = st.sampled_from((_PURCHASE,) * 6 + (_VISIT,)).flatmap(st.fixed_dictionaries)
    return versions(kinds.map(lambda row: {"event_id": f"e{number}"} | row))


def _coupon_terms(name: str):
    few = st.sampled_from((None, 1, 3))
    columns = {
        "placements": st.sampled_from((None, "home", "home cart")),
        "total_limit": few,
        "period_limit": few,
        "period_days": few,
        "campaign_budget": cents,
        "user_budget": cents,
        "max_discount": cents,
        "exclusivity_group": st.sampled_from((None, "milk")),
        "impression_limit": few,
        "impression_days": few,
        "min_margin": few,
        "gift_product_id": st.sampled_from((None, "p1")),
        "min_spend_basis": st.sampled_from((None, "covered")),
    }
    return table({"coupon_id": name}, columns).map(_periods_with_a_limit)


def _periods_with_a_limit(rows: list[dict]) -> list[dict]:
    pairs = {"period_days": "period_limit", "impression_days": "impression_limit"}
    return [row | {days: row[limit] and 7 for days, limit in pairs.items()} for row in rows]


def _product_terms(name: str):
    columns = {"stock": st.sampled_from((None, 0, 7)), "unit_cost": cents}
    return table({"product_id": name}, columns)


def _redemption(number: int):
    return table(
        {"redemption_id": f"r{number}", "basket_id": None},
        {
            "user_id": st.sampled_from(USERS),
            "coupon_id": st.sampled_from(COUPONS),
            "discount_amount": cents,
            "canceled_timestamp": st.none() | st.none() | instants,
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
        lambda pairs: _flat(table({"coupon_id": c, "product_id": p}, {}, 2) for c, p in pairs)
    )


def _flat(parts):
    return st.tuples(*parts).map(lambda groups: [row for group in groups for row in group])


def _some(make, least: int, most: int):
    return st.integers(least, most).flatmap(lambda n: _flat([make(i) for i in range(n)]))


def logs(events: int = 40):
    """Draws a log of all tables: ties, gaps, late rows, corrections, refunds, window borders."""
    return st.fixed_dictionaries(
        {
            "users": _flat([_user(name) for name in USERS]),
            "products": _flat([_product(name) for name in PRODUCTS]),
            "coupons": _flat([_coupon(name) for name in COUPONS]),
            "coupon_products": _scope(),
            "coupon_terms": _some(lambda i: _coupon_terms(COUPONS[i]), 0, len(COUPONS)),
            "product_terms": _some(lambda i: _product_terms(PRODUCTS[i]), 0, len(PRODUCTS)),
            "exposures": _some(_exposure, 0, 6),
            "events": _some(_event, 5, events),
            "redemptions": _some(_redemption, 0, 12),
        }
    )


@st.composite
def deliveries(draw, log: Log, most: int = 3) -> list[Log]:
    """Splits the log into batches in any order."""
    batches: list[Log] = [{name: [] for name in log} for _ in range(draw(st.integers(1, most)))]
    place = st.integers(0, len(batches) - 1)
    for name, rows in log.items():
        for row in rows:
            batches[draw(place)][name].append(row)
    return batches


def complete_until(log: Log) -> int:
    """Returns the first instant after all events and learning; plans can take effect later."""
    rows = [row for rows in log.values() for row in rows]
    happened = [row for name in ("exposures", "events", "redemptions") for row in log[name]]
    learned = max(row["created_timestamp"] for row in rows)
    return max([learned, *(row["event_timestamp"] for row in happened)]) + 1


def change_instants(log: Log) -> list[int]:
    """Lists instants of possible changes, a microsecond before and after them, and midnights."""
    seen = set()
    for rows in log.values():
        for row in rows:
            canceled = row.get("canceled_timestamp")
            for at in (row["event_timestamp"], row["created_timestamp"], canceled or START):
                ends = [at + days * DAY for days in (0, 7, 30, 90)]
                ends += [end - end % DAY + DAY for end in ends]
                seen.update(end + step for end in ends for step in (-1, 0, 1))
    return [*sorted(t for t in seen if t < WATERMARK), WATERMARK]


def some_instants(log: Log, most: int):
    """Draws some of the change instants of a log, in order."""
    every = change_instants(log)
    randoms = st.randoms(use_true_random=False)
    return randoms.map(lambda random: sorted(random.sample(every, min(most, len(every)))))
