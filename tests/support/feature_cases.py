"""One small log, written by hand, with the most error-prone cases."""

from tests.support.feature_rows import COUPONS, DAY, PRODUCTS, START, USERS, Log

HOUR = DAY // 24


def row(event: float, created: float | None = None, **columns: object) -> dict:
    """Returns a version of a row; instants are in days after START, learned at once by default."""
    learned = event if created is None else created
    return columns | {"event_timestamp": _at(event), "created_timestamp": _at(learned)}


def _at(days: float) -> int:
    return START + round(days * 24) * HOUR


def purchase(number: int, event: float, created: float | None = None, **columns: object) -> dict:
    default = {"event_type": "purchase", "user_id": "u1", "product_id": "p1"}
    default |= {"basket_id": None, "quantity": 1, "amount": 100}
    return row(event, created, event_id=f"e{number}", **default | columns)


def _users() -> list[dict]:
    return [
        row(-1, user_id="u1", age_min=20),
        # Planned first, and replaced by a version learned later that takes effect earlier.
        row(20, 1, user_id="u1", age_min=30),
        row(5, 2, user_id="u1", age_min=40),
        # Known after its first purchase, and to the microsecond at midnight.
        row(10, user_id="u2", age_min=50),
        row(0, 40, user_id="u3", is_married=True),
    ]


def _products() -> list[dict]:
    return [
        # The version learned first takes effect last, so it is not the first version.
        row(30, 0, product_id="p1", category="Late", brand="b1"),
        row(3, 1, product_id="p1", category="Milk", brand=None, is_private_label=False),
        row(0, 12.5, product_id="p2", category="Milk", brand="b2", department="D1"),
        row(4, 2, product_id="p3", category="Old", brand="b2"),
        row(4, 3, product_id="p3", category="New", brand="b2"),
        row(0, product_id="p4", category=None, brand="b1"),
    ]


def coupon(name: str, event: float, created: float | None = None, **columns: object) -> dict:
    campaign, code = name.split(":")
    default = {"coupon_id": name, "coupon_code": code, "campaign_id": campaign, "audience": "open"}
    default |= {"valid_from": _at(0), "valid_to": _at(90.25), "discount_value": 10}
    return row(event, created, **default | columns)


def _coupons() -> list[dict]:
    return [
        coupon("A:x", 0),
        coupon("A:x", 6, campaign_type="Type A", min_spend=500, coupon_code="y"),
        coupon("B:x", 9.5),
        coupon("A:y", 50, 0, coupon_code="z", campaign_id="C"),
        coupon("A:y", 8, 4),
        coupon("C:z", 2),
        coupon("C:z", 60, 3, min_spend=1),
        coupon("C:z", 7, 5, min_spend=2),
    ]


def _scopes() -> list[dict]:
    pairs = [
        ("A:x", "p1", -1, None),
        ("A:x", "p2", 5, None),
        ("A:x", "p3", 1, 33),
        ("B:x", "p4", 2, None),
        ("B:x", "p1", 20, 1),
        ("A:y", "p2", 0, None),
        ("C:z", "p3", 9, 9),
        ("C:z", "p3", 1, 10),
    ]
    return [row(e, c, coupon_id=one, product_id=product) for one, product, e, c in pairs]


def _events() -> list[dict]:
    refund = {"quantity": 0, "amount": 0, "coupon_discount": 0}
    return [
        # A view for three hours, then a purchase again with the content of midnight.
        purchase(1, 1, coupon_discount=20, retail_discount=5),
        purchase(1, 1, 8.25, event_type="view"),
        purchase(1, 1, 8.375, coupon_discount=20, retail_discount=5),
        purchase(1, 1, 8.5, **refund),
        # Planned, and replaced by a later version.
        purchase(2, 2, product_id="p2"),
        purchase(2, 40, 3, product_id="p2", amount=7),
        purchase(2, 6, 4, product_id="p2", amount=9),
        # The last purchase of its product is returned, so the one before is the last.
        purchase(3, 4, product_id="p3", coupon_discount=1, basket_id="b1"),
        purchase(4, 9.5, product_id="p3", basket_id="b1"),
        purchase(4, 9.5, 11.25, product_id="p3", event_type="cart"),
        # Repeated, and corrected in columns that the histories do not depend on.
        purchase(5, 10, product_id="p4", basket_id="e6"),
        purchase(5, 10, 13.5, product_id="p4", basket_id="e6"),
        purchase(5, 10, 14.5, product_id="p4", basket_id="e6", amount=55),
        # Corrected to another user, then to another product and category, then to a view.
        purchase(6, 12, user_id="u2", coupon_match_discount=3),
        purchase(6, 12, 15.25, user_id="u1"),
        purchase(6, 12, 16.25, user_id="u1", product_id="p4"),
        purchase(6, 12, 17, user_id="u1", event_type="view"),
        # Before the user is known, learned after all windows, and at a leap day's midnight.
        purchase(7, 0.5, user_id="u2"),
        purchase(8, 0.25, 95, amount=1),
        purchase(9, 2, user_id="u3", product_id="p2"),
        purchase(10, 18, 18 + 7, user_id="u3", product_id="p4", basket_id="b1"),
        purchase(11, 18, user_id="u3", product_id="p4", basket_id="b1"),
        # Two purchases make a repeat buyer, until one is moved out of the window.
        purchase(12, 70, user_id="u2", product_id="p2"),
        purchase(13, 71, user_id="u2", product_id="p2", amount=0, quantity=0),
        purchase(13, 3, 75.5, user_id="u2", product_id="p2"),
        # Corrected to a view before any midnight, while the product is not known.
        purchase(15, 0.25, product_id="p3"),
        purchase(15, 0.25, 0.5, product_id="p3", event_type="view"),
        row(5, event_id="e14", user_id="u1", event_type="search", product_id=None),
    ]


def _exposures() -> list[dict]:
    return [
        row(1, exposure_id="x1", user_id="u1", campaign_id="A"),
        row(1, 12, exposure_id="x1", user_id="u1", campaign_id="B"),
        row(2, exposure_id="x2", user_id="u2", campaign_id="B"),
        row(30, 4, exposure_id="x3", user_id="u3", campaign_id="C"),
        row(16, 5, exposure_id="x3", user_id="u3", campaign_id="A"),
        row(3, 45, exposure_id="x4", user_id="u3", campaign_id="C"),
        # Replaced before it takes effect: it never counts, and u3 is not known by it.
        row(2.5, 1, exposure_id="x5", user_id="u3", campaign_id="A"),
        row(2, 1.5, exposure_id="x5", user_id="u1", campaign_id="A"),
    ]


def _redemptions() -> list[dict]:
    used = {"user_id": "u1", "coupon_id": "A:x", "discount_amount": 50}
    return [
        row(2, redemption_id="r1", **used),
        row(2, 14.5, redemption_id="r1", **used | {"coupon_id": "B:x"}),
        row(2, 16.5, redemption_id="r1", **used),
        # Of a coupon that is not known yet, and without a discount amount.
        row(3, redemption_id="r2", **used | {"coupon_id": "B:x", "discount_amount": None}),
        row(9, redemption_id="r3", **used | {"discount_amount": 25}),
        row(50, 5, redemption_id="r4", **used),
        row(13, 6, redemption_id="r4", **used | {"user_id": "u3"}),
        row(7, 98, redemption_id="r5", **used | {"coupon_id": "A:y"}),
        row(11, redemption_id="r6", **used | {"coupon_id": "C:z", "discount_amount": 0}),
    ]


def hard_cases() -> Log:
    """Returns all cases, on the users, products and coupons of the other logs."""
    log = {
        "users": _users(),
        "products": _products(),
        "coupons": _coupons(),
        "coupon_products": _scopes(),
        "exposures": _exposures(),
        "events": _events(),
        "redemptions": _redemptions(),
    }
    assert {one["user_id"] for one in log["users"]} == set(USERS)
    assert {one["product_id"] for one in log["products"]} == set(PRODUCTS)
    assert {one["coupon_id"] for one in log["coupons"]} == set(COUPONS)
    return log
