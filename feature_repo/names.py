"""The strings that more than one folder must spell alike."""

RANKER_SERVICE = "coupon_ranker_v1"

RANKER_MODEL = "coupon_ranker"
CHAMPION = "champion"
CHALLENGER = "challenger"

RULE_NAME = "own_purchases"
RULE_VERSION = "rule-1"

# What the trees of a version add to: a service that adds them to anything else would rank wrongly.
BASE_MARGIN_TAG = "base_margin"
BASE_MARGIN = f"{RULE_NAME} {RULE_VERSION}"

USER = "user_id"
PRODUCT = "product_id"
COUPON = "coupon_id"

PLACEMENTS = ("home", "cart", "checkout", "member", "campaign")
