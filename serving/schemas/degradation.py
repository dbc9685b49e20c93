"""Kinds of degraded answers, as the header and the counter name them."""

from collections.abc import Mapping

ONLINE_STORE = "online-store"


CACHED_FEATURES = "cached-features"


COLD_START_FEATURES = "cold-start-features"


LEDGER = "ledger"


REGISTRY = "registry"


UNKNOWN_USER = "unknown-user"


UNKNOWN_PRODUCT = "unknown-product"


STALE_FEATURES = "stale-features"


NO_CANDIDATES = "no-candidates"


KINDS: Mapping[str, str] = {
    ONLINE_STORE: "The online store was not asked, failed, missed its deadline, or is empty.",
    CACHED_FEATURES: "The user is as last read here before the online store was in trouble.",
    COLD_START_FEATURES: "The user counts as unknown, since the online store was in trouble.",
    LEDGER: "Coupons whose limits the ledger keeps were not shown, since it could not be asked.",
    REGISTRY: "The model registry does not answer or has no model that may serve.",
    UNKNOWN_USER: "Nothing is known of the user.",
    UNKNOWN_PRODUCT: "A product in the cart is one that the lake does not know.",
    STALE_FEATURES: "A feature view was not materialized for longer than it allows.",
    NO_CANDIDATES: "There is no coupon that the user may see.",
}
"""Every way in which an answer is less than it could be; a header says which, a counter counts."""
