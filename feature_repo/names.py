"""The strings that more than one folder must spell alike."""

RANKER_SERVICE = "coupon_ranker_v1"

RANKER_MODEL = "coupon_ranker"
CHAMPION = "champion"
CHALLENGER = "challenger"

RULE_NAME = "own_purchases"
RULE_VERSION = "rule-1"

USER = "user_id"
PRODUCT = "product_id"
COUPON = "coupon_id"

PLACEMENTS = ("home", "cart", "checkout", "member", "campaign")
