"""The objects that ``feast apply`` registers: it collects the module-level names."""

from feature_repo.views.coupon import (
    coupon,
    coupon_campaign_stats,
    coupon_details,
    coupon_popularity_stats,
    coupon_redemption_stats,
    coupon_scope,
)
from feature_repo.views.product import (
    product,
    product_details,
    product_sales_stats,
)
from feature_repo.views.services import (
    checkout_ranker_v1,
    home_ranker_v1,
)
from feature_repo.views.user import (
    user,
    user_campaign_stats,
    user_demographics,
    user_exposure_stats,
    user_purchase_history,
    user_purchase_stats,
    user_recent_purchases,
    user_redemption_stats,
)

__all__ = [
    "checkout_ranker_v1",
    "coupon",
    "coupon_campaign_stats",
    "coupon_details",
    "coupon_popularity_stats",
    "coupon_redemption_stats",
    "coupon_scope",
    "home_ranker_v1",
    "product",
    "product_details",
    "product_sales_stats",
    "user",
    "user_campaign_stats",
    "user_demographics",
    "user_exposure_stats",
    "user_purchase_history",
    "user_purchase_stats",
    "user_recent_purchases",
    "user_redemption_stats",
]
